#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/output/node_event.h"
#include "vmeventd/v1/vm_events.pb.h"

// VMs, nodes, counts and streams as lists deliver them. Each has its node, no matter whether one
// server, several servers or a fleet was asked.

namespace vmeventd::client {

struct NodeVm {
  v1::Vm vm;
  MessageNode node;
  // Only in a list with one row for each VM: the number of its runs that have ended, and how the
  // newest of them ended.
  std::optional<int> ends = {};
  v1::ShutdownDetail last_end = {};
  absl::Time last_end_time = absl::InfinitePast();

  // Returns the end to show with the VM; null: none.
  const v1::ShutdownDetail* end() const {
    if (vm.has_shutdown()) return &vm.shutdown();
    return ends.value_or(0) > 0 ? &last_end : nullptr;
  }
};
using NodeVms = std::vector<NodeVm>;

// The state of a node, as it reports it.
struct NodeReport {
  MessageNode node;
  // Why the node does not answer, or that it is silent; the members below are then those that are
  // still known. Safe for a terminal; empty: the node is up.
  std::string problem;
  v1::GetServerInfoResponse info;  // for a fleet's node: the content of its heartbeat
  // For a fleet's node: number of sequences that are not published yet.
  std::optional<uint64_t> lag;
  NodeVms vms;           // VMs that have not stopped
  NodeEvents ends;       // STOPPED events since the requested time
  bool all_ends = true;  // false: there are more, older ends
  // `unread`: why the ends are not known. `unhealthy`: why a service does not serve. Safe for a
  // terminal; empty: no fault.
  std::string unread;
  std::string unhealthy;
  absl::Duration answer_time;
};
using NodeReports = std::vector<NodeReport>;

// The number of events with a key.
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
  std::optional<NodeEvent> end;           // the VM's newest STOPPED; unset: none is known
  std::optional<NodeVm> vm;               // the VM's newest run; unset: only the end is known
  std::vector<v1::Event> late_intents;    // the INTENT_LATE events of that end's run, oldest first
  std::map<v1::ShutdownClass, int> ends;  // number of ends in the last 24 hours
  bool shared = false;                    // another VM may have the same name
  bool is_former = false;  // another VM has the same name now, or had it after this one

  const v1::VmRef& ref() const { return vm ? vm->vm.ref() : end->event.vm(); }
};
using VmStories = std::vector<VmStory>;

}  // namespace vmeventd::client
