#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/nats/connection.h"
#include "client/output/node_event.h"
#include "google/protobuf/message.h"
#include "vmeventd/v1/vm_events.pb.h"

// The messages of a fleet, which are CloudEvents in binary mode (docs/many-nodes.md), and which of
// them pass a filter. Pure.

namespace vmeventd::client {

// Parses a payload: protobuf, or its JSON, whose fields may be later ones. INVALID_ARGUMENT: it is
// neither, or JSON cannot express its times.
absl::Status ParsePayload(absl::string_view data, google::protobuf::Message* message);

// Parses the node and the content of a message of the stream or of a bucket. A server permits a
// node its own subjects only, and the sender chooses the headers: INVALID_ARGUMENT also if
// ce-source, "/vmevents/CLUSTER/NODE/JOURNAL_ID", or ce-type are not those of the subject.
absl::StatusOr<MessageNode> ParseFleetMessage(const NatsMessage& from,
                                              google::protobuf::Message* message);

// Selection of events or VMs of a fleet.
struct FleetFilter {
  v1::EventFilter events;           // applied as by the daemon
  std::vector<std::string> nodes;   // globs of NODE, or of CLUSTER/NODE; empty: all
  std::optional<absl::Time> since;  // observed at or after
  std::optional<absl::Time> until;  // observed before
};

// The subjects that such events have: they do not overlap, and more than pass the filter may
// have them. A node, a VM, a type and a class become part of them, if the filter has one of each
// and it is no glob. Pure.
std::vector<std::string> EventSubjects(const FleetFilter& filter);

// Subjects of the keys of the bucket of VMs, or of nodes, in the same way.
std::string VmSubjects(const FleetFilter& filter);
std::string NodeSubjectsOf(const FleetFilter& filter);

// Returns whether it passes the filter. A GAP of a whole node passes what selects VMs, types and
// classes: the missing events may have matched.
bool Passes(const FleetFilter& filter, const MessageNode& origin, const v1::Event& event);
// Checks the VM's node, name, source, UUID, labels and run.
bool Passes(const FleetFilter& filter, const MessageNode& origin, const v1::VmRef& vm);
bool PassesNode(const FleetFilter& filter, absl::string_view cluster, absl::string_view node);

}  // namespace vmeventd::client
