#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/connect/failure.h"
#include "client/output/invocation.h"
#include "client/output/node_vm.h"
#include "client/sources/list_source.h"
#include "vmeventd/v1/vm_events.pb.h"

// Checks the names of VMs in a filter: finds names that no VM has, and UUIDs among the names.

namespace vmeventd::client {

using VmNames = std::set<std::string>;
VmNames VmNamesOf(const NodeVms& vms);

// Returns the names and globs of the filter that match no known name.
std::vector<std::string> UnknownNames(const v1::EventFilter& filter, const VmNames& known);

// The failure "no WHAT is known", with the place of the search and the hint.
Failure NotFound(absl::string_view what, const Invocation& invocation, absl::string_view hint);
// A hint for NotFound(): how to list what is known.
std::string ListHint(const Invocation& invocation);
// The failure for unknown names, which lists known ones. Asks the source for all VMs.
Failure ExplainUnknown(const std::vector<std::string>& unknown, const Invocation& invocation,
                       ListSource* source);

// Explains a list that is empty because the filter has a label that no VM has. The text ends a
// sentence, and names the most similar label and the known ones. Empty: the filter has no such
// label. Asks the source for all VMs.
std::string ExplainLabels(const v1::EventFilter& filter, ListSource* source);

// Called after a list: returns a failure if no VM and no event of the journal matches a name or a
// glob of the filter.
std::optional<Failure> CheckNames(const v1::EventFilter& filter, const Invocation& invocation,
                                  ListSource* source);

// Moves names of the filter that are the UUIDs of VMs to its UUIDs. Failure with kUsage: the filter
// also has other names.
std::optional<Failure> TakeUuids(ListSource* source, v1::EventFilter* filter);

}  // namespace vmeventd::client
