#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/formatter.h"
#include "client/output/node_vm.h"
#include "client/output/output.h"
#include "client/sources/list_source.h"
#include "vmeventd/v1/vm_events.pb.h"

// `vms`: lists the VMs.

namespace vmeventd::client {

// Order of the rows of `vms`, in the order of ValuesOf("--sort-by").
enum class VmOrder { kState, kName, kAge, kEnds, kClass, kTrouble };

struct VmsCommand {
  v1::EventFilter filter;  // no types; classes and causes apply to the end that is shown
  std::vector<v1::VmState> states;
  bool include_stopped = false;
  bool runs = false;             // a row for each run instead of each VM, the newest first
  bool trouble = false;          // only VMs that need attention: see output/trouble.h
  std::optional<VmOrder> order;  // default kState
};

// Prints the answer. Returns the failure, if there is one; an output whose reader has gone is no
// failure. Prints nothing for an empty list, and sets `*empty` to what that means.
std::optional<Failure> RunList(const VmsCommand& command, ListSource* source, Formatter* formatter,
                               Output* output, std::string* empty);

// Sorts the rows of `vms`. By state: RUNNING first; stopped VMs by their end, the newest first. By
// trouble: the worst first, then by state. Pure.
void SortVms(const VmsCommand& command, NodeVms* vms, absl::Time now = absl::Now());

}  // namespace vmeventd::client
