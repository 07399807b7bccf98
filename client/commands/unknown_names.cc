#include "client/commands/unknown_names.h"

#include <iterator>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/glob.h"
#include "base/spelling.h"
#include "client/commands/not_found.h"
#include "client/commands/some_of.h"
#include "client/output/terminal_text.h"
#include "client/output/wanted.h"
#include "client/sources/events_command.h"

namespace vmeventd::client {

std::vector<std::string> UnknownNames(const v1::EventFilter& filter, const VmNames& known) {
  std::vector<std::string> unknown;
  absl::c_copy_if(filter.vm_names(), std::back_inserter(unknown), [&](const std::string& name) {
    const Glob glob(name);
    return !known.contains(name) &&
           absl::c_none_of(known, [&](const std::string& one) { return glob.Matches(one); });
  });
  // A text with commas is known if it is a known name, or if all its parts are.
  for (const std::string& list : filter.vm_names()) {
    const VmNames parts = absl::StrSplit(list, ',', absl::SkipEmpty());
    if (parts.empty() || parts.contains(list) || !IsWanted(filter.vm_names(), *parts.begin())) {
      continue;
    }
    const bool is_one = !absl::c_linear_search(unknown, list);
    std::erase_if(unknown, [&](const std::string& name) {
      return is_one ? parts.contains(name) : name == list;
    });
  }
  return unknown;
}

VmNames VmNamesOf(const NodeVms& vms) {
  VmNames names;
  for (const NodeVm& one : vms) names.insert(one.vm.ref().name());
  return names;
}

Failure ExplainUnknown(const std::vector<std::string>& unknown, const Invocation& invocation,
                       ListSource* source) {
  NodeVms all;
  static_cast<void>(source->ReadVms({}, /*stopped_too=*/true, &all));  // only for a hint
  const VmNames names = VmNamesOf(all);
  // The VMs whose names begin with the word; if there are none, the VM with the nearest name.
  VmNames begun;
  absl::c_copy_if(names, std::inserter(begun, begun.end()),
                  [&](const std::string& name) { return absl::StartsWith(name, unknown.front()); });
  const std::string nearest =
      !begun.empty()
          ? SomeOf(begun)
          : EscapeForTerminal(NearestName(unknown.front(), {names.begin(), names.end()}));
  const auto quote = [](std::string* out, const std::string& name) {
    absl::StrAppend(out, "\"", EscapeForTerminal(name), "\"");
  };
  return NotFound(absl::StrCat("VM ", absl::StrJoin(unknown, ", ", quote)), invocation,
                  names.empty()     ? "; no VM is"
                  : nearest.empty() ? ListHint(invocation)
                                    : absl::StrCat("; did you mean ", nearest, "?"));
}

std::optional<Failure> CheckNames(const v1::EventFilter& filter, const Invocation& invocation,
                                  ListSource* source) {
  if (filter.vm_names().empty()) return std::nullopt;
  v1::EventFilter names;
  *names.mutable_vm_names() = filter.vm_names();
  NodeVms runs;
  if (auto failure = source->ReadVms(names, /*stopped_too=*/true, &runs)) return failure;
  std::vector<std::string> unknown;
  for (const std::string& name : UnknownNames(filter, VmNamesOf(runs))) {
    EventsCommand any;
    any.request.mutable_filter()->add_vm_names(name);
    any.limit = 1;
    bool found = false;
    auto failure = source->ReadEvents(any, [&found](const NodeEvent& one) {
      found = one.event.has_vm();  // a GAP of the whole node passes each filter
      return !found;
    });
    if (failure) return failure;
    if (!found) unknown.push_back(name);
  }
  if (unknown.empty()) return std::nullopt;
  return ExplainUnknown(unknown, invocation, source);
}

}  // namespace vmeventd::client
