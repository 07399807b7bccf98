#ifndef VMEVENTD_CLIENT_OUTPUT_FORMAT_NAMES_H_
#define VMEVENTD_CLIENT_OUTPUT_FORMAT_NAMES_H_

#include <string>

#include "client/output/formatter.h"

namespace vmeventd::client {

// One name a line, for a shell's loop: of each VM, of the VM of each event, an intent's id, the
// node's name. Escaped for terminals. An event of the whole node has no line. NODE/NAME if there
// are several nodes; of a fleet CLUSTER/NODE/NAME, and CLUSTER/NODE of a node.
class NameFormatter : public Formatter {
 public:
  std::string EventHeading() override { return ""; }
  absl::StatusOr<std::string> FormatEvents(const Events& events, const Nodes& nodes) override;
  absl::StatusOr<std::string> FormatVms(const Vms& vms, const Nodes& nodes) override;
  absl::StatusOr<std::string> FormatVm(const v1::Vm& vm, const Nodes& nodes) override;
  absl::StatusOr<std::string> FormatIntent(const v1::Intent& intent) override;
  absl::StatusOr<std::string> FormatIntents(const Vms& vms) override;
  absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info) override;
  absl::StatusOr<std::string> FormatHealth(const Health& health) override;
  absl::StatusOr<std::string> FormatFleet(const Heartbeats& nodes, absl::Time now) override;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_FORMAT_NAMES_H_
