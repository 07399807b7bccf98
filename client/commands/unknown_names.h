#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "client/connect/failure.h"
#include "client/output/invocation.h"
#include "client/output/node_vm.h"
#include "client/sources/list_source.h"
#include "vmeventd/v1/vm_events.pb.h"

// Names in a filter that no VM has.

namespace vmeventd::client {

using VmNames = std::set<std::string>;
VmNames VmNamesOf(const NodeVms& vms);

// Returns the names and globs of the filter that match no known name.
std::vector<std::string> UnknownNames(const v1::EventFilter& filter, const VmNames& known);

// The failure for unknown names; for a single one it proposes known names. Asks the source for all
// VMs.
Failure ExplainUnknown(const std::vector<std::string>& unknown, const Invocation& invocation,
                       ListSource* source);

// Called after a list: returns a failure if no VM and no event of the journal matches a name or a
// glob of the filter.
std::optional<Failure> CheckNames(const v1::EventFilter& filter, const Invocation& invocation,
                                  ListSource* source);

}  // namespace vmeventd::client
