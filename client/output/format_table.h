#ifndef VMEVENTD_CLIENT_OUTPUT_FORMAT_TABLE_H_
#define VMEVENTD_CLIENT_OUTPUT_FORMAT_TABLE_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "client/output/formatter.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

struct TableStyle {
  bool color = false;
  absl::TimeZone zone;
  bool headings = true;
  // A column NODE: messages of several nodes are mixed. Once there are several clusters, it has
  // CLUSTER/NODE.
  bool nodes = false;
  size_t node_width = 0;  // of the longest node's name
  bool wide = false;      // more columns, and no limit to a line
  // The columns of the terminal: where a row does not fit, its DETAIL stands below it. 0: no limit.
  size_t width = 0;
  // Whether events go without their sequence and with brief dates, to have one line each.
  bool narrow() const { return width > 0 && width < 100 && !wide; }
  bool brief = false;  // a time of today is shown without its date
  // A clock. Null: no ages are shown, and every time has its date.
  std::function<absl::Time()> now;
  bool is_brief() const { return brief && now && !wide; }
};

// Tables for people: aligned columns, times in the style's zone, optional colour. Escapes all text
// of the server for terminals.
class TableFormatter : public Formatter {
 public:
  explicit TableFormatter(TableStyle style);

  std::string EventHeading() override;
  absl::StatusOr<std::string> FormatEvents(const Events& events, const Nodes& nodes) override;
  absl::StatusOr<std::string> FormatVms(const Vms& vms, const Nodes& nodes) override;
  absl::StatusOr<std::string> FormatVm(const v1::Vm& vm, const Nodes& nodes) override;
  absl::StatusOr<std::string> FormatIntent(const v1::Intent& intent) override;
  absl::StatusOr<std::string> FormatIntents(const Vms& vms) override;
  absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info) override;
  absl::StatusOr<std::string> FormatHealth(const Health& health) override;
  absl::StatusOr<std::string> FormatFleet(const Heartbeats& nodes, absl::Time now) override;

 private:
  size_t LineLimit() const { return style_.wide ? 0 : style_.width; }
  std::string EventTime(absl::Time time);
  std::string SinceText(bool known, const google::protobuf::Timestamp& time) const;
  std::string AgeText(const v1::Vm& vm) const;
  std::vector<Cell> EventRow(const v1::Event& event, const MessageNode* node);
  std::vector<Cell> VmRow(const v1::Vm& vm, const MessageNode* node) const;
  // Whether the nodes' names need their clusters' from now on.
  void NoteClusters(const Nodes& nodes);
  Cell NodeCell(const MessageNode* node) const;

  const TableStyle style_;
  Painter painter_;
  absl::TimeZone zone_;
  // Of the rows that come one by one, or of a list's first page.
  std::optional<ColumnLayout> event_layout_;
  absl::CivilDay shown_day_;  // of the last event's row
  bool any_shown_ = false;
  std::string cluster_;  // the first that was shown
  bool several_clusters_ = false;
  bool vms_shown_ = false;  // a table of VMs was printed above the events
};

// The colours of states and classes.
Color ColorOf(v1::VmState state);
Color ColorOf(v1::ShutdownClass shutdown_class);

// One escaped sentence about how a VM ended and how the daemon knows: the cause, the event's own
// `message` if any, and the evidence unless the message names it.
std::string ShutdownSentence(const v1::ShutdownDetail& shutdown, absl::string_view message);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_FORMAT_TABLE_H_
