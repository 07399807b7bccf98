#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/filter_lists.h"
#include "base/name_matcher.h"
#include "client/output/message_node.h"
#include "vmeventd/v1/vm_events.pb.h"

// Filters for the events and VMs of a fleet. Pure.

namespace vmeventd::client {

// Selection of events or VMs of a fleet.
struct FleetFilter {
  v1::ListEventsRequest list;      // its filter and times, applied in the same way as by the daemon
  std::vector<std::string> nodes;  // globs of NODE, or of CLUSTER/NODE; empty: all
};

// A selection by the filter only.
FleetFilter FilterOf(const v1::EventFilter& filter, std::vector<std::string> nodes);

// The subjects of the events that pass the filter. They do not overlap, and other events may have
// them too. They contain the filter's node, VM, type or class if the filter has exactly one value
// of it that is no glob. Pure.
std::vector<std::string> EventSubjects(const FleetFilter& filter);

// The subjects of a bucket's keys for the filter; other keys may match them too.
std::string KeySubjects(absl::string_view bucket, const FleetFilter& filter);

// A filter that is built once and applied to each event or VM. Immutable; any thread.
class FleetMatcher {
 public:
  explicit FleetMatcher(const FleetFilter& filter);

  // Returns whether the event passes the times, the nodes and the filter.
  bool Passes(const MessageNode& origin, const v1::Event& event) const;
  // Checks the VM's node, name, source, UUID, labels and run.
  bool Passes(const MessageNode& origin, const v1::VmRef& vm) const;
  bool PassesNode(absl::string_view cluster, absl::string_view node) const;

 private:
  v1::ListEventsRequest list_;
  FilterLists lists_;
  // Patterns of NODE and of CLUSTER/NODE. Unset: there are none. If both are unset, all nodes pass.
  std::optional<NameMatcher> nodes_;
  std::optional<NameMatcher> nodes_of_clusters_;
};

}  // namespace vmeventd::client
