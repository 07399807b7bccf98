#pragma once

#include "client/output/node_vm.h"

namespace vmeventd::client {

// Returns one row for each VM: its living run (each of them if there are several), otherwise its
// newest run. Two UUIDs of one name are two VMs. `runs_known`: `runs` has all runs of a VM, so its
// ends can be counted. Pure.
NodeVms RowsOf(NodeVms runs, bool runs_known);

}  // namespace vmeventd::client
