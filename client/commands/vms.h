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

// Order of the rows of `vms`; the index of ValuesOf("--sort-by").
enum class VmOrder { kState, kName, kAge, kEnds, kClass, kTrouble };

struct VmsCommand {
  v1::EventFilter filter;  // no types; classes and causes are of the end that is shown
  std::vector<v1::VmState> states;
  bool include_stopped = false;
  bool runs = false;             // a row for each run instead of each VM, the newest first
  bool trouble = false;          // only VMs that need somebody: see output/trouble.h
  std::optional<VmOrder> order;  // default kState
};

// Prints the answer and returns nothing, or the failure. An output whose reader has gone is no
// failure. Of an empty list it prints nothing: what that means becomes `empty`.
std::optional<Failure> RunList(const VmsCommand& command, ListSource* source, Formatter* formatter,
                               Output* output, std::string* empty);

// One row for each VM: its run that lives, or else the newest; each run, where several live.
// `runs_known`: all of its runs are there, so that its ends can be counted. Pure.
NodeVms RowsOf(NodeVms runs, bool runs_known);
// Sorts the rows of `vms`: by state RUNNING first, and the stopped ones by the newest end; by
// trouble the worst first, and then by state. Pure.
void SortVms(const VmsCommand& command, NodeVms* vms, absl::Time now = absl::Now());

}  // namespace vmeventd::client
