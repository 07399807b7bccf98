#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

// Events and VMs as lists and watches deliver them: each with its node, whether one server, several
// or a fleet was asked.

namespace vmeventd::client {

// The most sockets without a VM that vmeventd lists (the contract).
inline constexpr int kMaxUnfollowed = 1000;

// The node that a message is of.
struct MessageNode {
  std::string name;        // empty: it is of the one server that was named, and not shown
  std::string cluster;     // cluster of a fleet; empty: the event is of a server that was named
  std::string journal_id;  // journal of the event, if its source knows it; not shown
  // The last heartbeat of a fleet's node that fell silent or stopped while the VM ran, the infinite
  // past if it has none or has lost its journal: the VM's state may have changed since.
  std::optional<absl::Time> stale_since;

  // Returns "CLUSTER/NODE", or the name alone outside of fleets.
  std::string full_name() const {
    return cluster.empty() ? name : absl::StrCat(cluster, "/", name);
  }
  bool operator==(const MessageNode&) const = default;
};

// Position at which a later watch continues: after `sequence` of that journal, or of that stream of
// a fleet.
struct WatchPosition {
  uint64_t sequence = 0;
  std::string journal_id;  // empty: there is no position yet
  // When a fleet's message at `sequence` was stored: the stream is recognised by it. The infinite
  // past: not known.
  absl::Time message_time = absl::InfinitePast();

  bool operator==(const WatchPosition&) const = default;
};

// The position in what one of the watched servers sends.
struct ServerPosition {
  size_t server = 0;  // index of the server
  WatchPosition position;
};

struct NodeEvent {
  v1::Event event;
  MessageNode node;
  // Position from which a later watch resumes once the event and all before it are handled. It
  // stays before an event that is not durable. Only a watch sets it.
  ServerPosition resume_after;
};
using NodeEvents = std::vector<NodeEvent>;

struct NodeVm {
  v1::Vm vm;
  MessageNode node;
  // In a list of one row a VM: the number of its runs that have ended, and how the newest of them
  // did.
  std::optional<int> ends = {};
  v1::ShutdownDetail last_end = {};
  absl::Time last_end_time = absl::InfinitePast();

  // Returns the end to show with it; null: it has none.
  const v1::ShutdownDetail* end() const {
    if (vm.has_shutdown()) return &vm.shutdown();
    return ends.value_or(0) > 0 ? &last_end : nullptr;
  }
};
using NodeVms = std::vector<NodeVm>;

// The state of a node, as it reports it.
struct NodeReport {
  MessageNode node;
  // Why it does not answer, or that it is silent: what follows is then what is known of it. Safe
  // for a terminal; empty: it is up.
  std::string problem;
  v1::GetServerInfoResponse info;  // of a fleet's node what its heartbeat has
  std::optional<uint64_t> lag;     // of a fleet's node: sequences that are not published yet
  NodeVms vms;                     // VMs that have not stopped
  NodeEvents ends;                 // STOPPED events since the time that was asked for
  bool all_ends = true;            // false: there are more, older ones
  // Why the ends are not known, and why a service does not serve. Safe for a terminal; empty: all
  // is well.
  std::string unread;
  std::string unhealthy;
  absl::Duration answer_time;
};
using NodeReports = std::vector<NodeReport>;

// The number of events that have a key.
struct NodeCount {
  std::string key;
  uint64_t events = 0;
  MessageNode node;
};
using NodeCounts = std::vector<NodeCount>;

struct NodeStream {
  v1::Stream stream;
  MessageNode node;
};

// The last end of a VM, and the VM as it is now.
struct VmStory {
  std::string name;
  std::optional<NodeEvent> end;           // its newest STOPPED; unset: none is known
  std::optional<NodeVm> vm;               // its newest run; unset: only the end is known
  std::map<v1::ShutdownClass, int> ends;  // of the last 24 hours
  bool shared = false;                    // another VM may have the name
  bool is_former = false;                 // another VM has the name now, or had it later

  const v1::VmRef& ref() const { return vm ? vm->vm.ref() : end->event.vm(); }
};
using VmStories = std::vector<VmStory>;

// Returns whether a filter's list has the value, or is empty.
template <typename List, typename Value>
bool IsWanted(const List& list, const Value& value) {
  return list.empty() || absl::c_linear_search(list, value);
}

// Returns whether a GAP of the whole node was asked for, which passes every filter: only then it
// counts, and runs a command.
inline bool AsksForGaps(const v1::EventFilter& filter) {
  return filter.ByteSizeLong() == 0 || absl::c_linear_search(filter.types(), v1::EVENT_TYPE_GAP);
}

}  // namespace vmeventd::client
