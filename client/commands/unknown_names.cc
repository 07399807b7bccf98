#include "client/commands/unknown_names.h"

#include <iterator>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/glob.h"
#include "base/spelling.h"
#include "client/commands/not_found.h"
#include "client/commands/some_of.h"
#include "client/output/or_list.h"
#include "client/output/terminal_text.h"
#include "client/output/wanted.h"
#include "client/sources/events_command.h"

namespace vmeventd::client {
namespace {

// The VMs whose names begin with the word; if there are none, the VM with the nearest name. Empty:
// no name is near.
std::string NearestTo(const std::string& word, const VmNames& names) {
  VmNames begun;
  absl::c_copy_if(names, std::inserter(begun, begun.end()),
                  [&word](const std::string& name) { return absl::StartsWith(name, word); });
  if (!begun.empty()) return SomeOf(begun);
  return EscapeForTerminal(NearestName(word, {names.begin(), names.end()}));
}

}  // namespace

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
  const std::string nearest = unknown.size() == 1 ? NearestTo(unknown.front(), names) : "";
  std::vector<std::string> quoted;
  quoted.reserve(unknown.size());
  for (const std::string& name : unknown) {
    quoted.push_back(absl::StrCat("\"", EscapeForTerminal(name), "\""));
  }
  return NotFound(absl::StrCat("VM ", OrList(quoted)), invocation,
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
