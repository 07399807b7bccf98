#ifndef VMEVENTD_CLIENT_OUTPUT_FORMAT_TABLE_H_
#define VMEVENTD_CLIENT_OUTPUT_FORMAT_TABLE_H_

#include <string>

#include "absl/time/time.h"
#include "client/output/formatter.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

// Tables for people: aligned columns, times in `zone`, optional colour. Escapes all text of the
// server for terminals.
class TableFormatter : public Formatter {
 public:
  TableFormatter(bool color, absl::TimeZone zone);

  std::string EventHeading() override;
  absl::StatusOr<std::string> FormatEvents(const Events& events) override;
  absl::StatusOr<std::string> FormatVms(const Vms& vms) override;
  absl::StatusOr<std::string> FormatVm(const v1::Vm& vm) override;
  absl::StatusOr<std::string> FormatIntent(const v1::Intent& intent) override;
  absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info) override;
  absl::StatusOr<std::string> FormatHealth(const Health& health) override;

 private:
  Painter painter_;
  absl::TimeZone zone_;
  ColumnLayout event_layout_;
  bool vms_shown_ = false;  // a table of VMs was printed above the events
};

// One escaped sentence about how a VM ended and how the daemon knows: the cause, the event's own
// `message` if any, and the evidence unless the message names it.
std::string ShutdownSentence(const v1::ShutdownDetail& shutdown, absl::string_view message);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_FORMAT_TABLE_H_
