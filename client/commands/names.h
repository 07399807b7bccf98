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

// The names of VMs in a filter: those that no VM has, and UUIDs among them.

namespace vmeventd::client {

using VmNames = std::set<std::string>;
VmNames VmNamesOf(const NodeVms& vms);

// Returns the names of the filter that are none of the known ones, globs included.
std::vector<std::string> UnknownNames(const v1::EventFilter& filter, const VmNames& known);

// "no WHAT is known", where it was looked for, and the hint.
Failure NotFound(absl::string_view what, const Invocation& invocation, absl::string_view hint);
// A hint for NotFound(): how to list what is known.
std::string ListHint(const Invocation& invocation);
// The failure of unknown names, with what is known instead. Asks the source for all VMs.
Failure ExplainUnknown(const std::vector<std::string>& unknown, const Invocation& invocation,
                       ListSource* source);

// Explains a list that is empty because of a label of the filter that no VM has: ends a sentence,
// and names the nearest label, and those that are known. Empty: it has no such label. Asks the
// source for all VMs.
std::string ExplainLabels(const v1::EventFilter& filter, ListSource* source);

// The failure of a list that ran: a name or a glob of the filter that no VM has and no event of the
// journal names.
std::optional<Failure> CheckNames(const v1::EventFilter& filter, const Invocation& invocation,
                                  ListSource* source);

// Names of the filter that are the UUIDs of VMs become its UUIDs. kUsage's code:
// other names are with them.
std::optional<Failure> TakeUuids(ListSource* source, v1::EventFilter* filter);

}  // namespace vmeventd::client
