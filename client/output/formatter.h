#ifndef VMEVENTD_CLIENT_OUTPUT_FORMATTER_H_
#define VMEVENTD_CLIENT_OUTPUT_FORMATTER_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "grpc/health/v1/health.pb.h"
#include "vmeventd/v1/fleet.pb.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The node that a message is of.
struct MessageNode {
  std::string name;
  std::string cluster;  // of a fleet; empty: it is of a server that was named
  // The last heartbeat of a fleet's node that fell silent or stopped while the VM ran: the VM's
  // state may have changed since.
  std::optional<absl::Time> stale_since;
  std::string journal_id;  // of an event, where its source knows it; shown nowhere
};

// Turns the server's answers into text for standard output. Pure, except that a formatter remembers
// its own output (column widths); one thread. Each text is whole lines, or empty. INTERNAL: a
// message cannot be shown; names it.
class Formatter {
 public:
  virtual ~Formatter() = default;

  using Events = google::protobuf::RepeatedPtrField<v1::Event>;
  using Vms = google::protobuf::RepeatedPtrField<v1::Vm>;
  using Health = grpc::health::v1::HealthCheckResponse;
  // The node of each message if messages of several nodes are mixed; empty: one node, not shown.
  using Nodes = std::vector<MessageNode>;
  using Heartbeats = google::protobuf::RepeatedPtrField<v1::NodeHeartbeat>;

  // The heading above events: requested once, before the first event if they come one by one, and
  // for a list after its first page, whose widths it then has.
  virtual std::string EventHeading() = 0;
  // Called repeatedly as events arrive, in order.
  virtual absl::StatusOr<std::string> FormatEvents(const Events& events, const Nodes& nodes) = 0;
  virtual absl::StatusOr<std::string> FormatVms(const Vms& vms, const Nodes& nodes) = 0;
  // One VM with all details.
  virtual absl::StatusOr<std::string> FormatVm(const v1::Vm& vm, const Nodes& nodes) = 0;
  // An intent that was just declared.
  virtual absl::StatusOr<std::string> FormatIntent(const v1::Intent& intent) = 0;
  // The open intents of these VMs; each VM has one.
  virtual absl::StatusOr<std::string> FormatIntents(const Vms& vms) = 0;
  virtual absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info) = 0;
  virtual absl::StatusOr<std::string> FormatHealth(const Health& health) = 0;
  // The nodes of a fleet, as they are at `now`.
  virtual absl::StatusOr<std::string> FormatFleet(const Heartbeats& nodes, absl::Time now) = 0;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_FORMATTER_H_
