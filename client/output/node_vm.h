#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/output/node_event.h"
#include "vmeventd/v1/vm_events.pb.h"

// VMs, nodes, counts and streams as lists deliver them: each with its node, whether one server,
// several or a fleet was asked.

namespace vmeventd::client {

// The most sockets without a VM that vmeventd lists (the contract).
inline constexpr int kMaxUnfollowed = 1000;

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

}  // namespace vmeventd::client
