#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_filter.h"
#include "client/output/node_event.h"
#include "vmeventd/v1/vm_events.pb.h"

// Which events and VMs of a fleet are asked for. Pure.

namespace vmeventd::client {

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

// Subjects of the keys of a bucket, in the same way.
std::string KeySubjects(absl::string_view bucket, const FleetFilter& filter);

// A filter that is made once, and asked for each event or VM. Immutable; any thread.
class FleetMatcher {
 public:
  explicit FleetMatcher(const FleetFilter& filter);

  // Returns whether it passes the filter. A GAP of a whole node passes what selects VMs, types and
  // classes: the missing events may have matched.
  bool Passes(const MessageNode& origin, const v1::Event& event) const;
  // Checks the VM's node, name, source, UUID, labels and run.
  bool Passes(const MessageNode& origin, const v1::VmRef& vm) const;
  bool PassesNode(absl::string_view cluster, absl::string_view node) const;

 private:
  FilterLists lists_;
  // Patterns of NODE and of CLUSTER/NODE. Unset: there is none; without both, all nodes pass.
  std::optional<NameMatcher> nodes_;
  std::optional<NameMatcher> nodes_of_clusters_;
  std::optional<absl::Time> since_;
  std::optional<absl::Time> until_;
};

}  // namespace vmeventd::client
