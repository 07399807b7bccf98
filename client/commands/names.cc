#include "client/commands/names.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/patterns.h"
#include "base/text.h"
#include "base/uuid.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

Failure NotFound(absl::string_view what, absl::string_view where, absl::string_view hint) {
  return {ExitCode::kNotFound, absl::StrCat("no ", what, " is known", where, hint)};
}

std::vector<std::string> UnknownNames(const v1::EventFilter& filter, const VmNames& known) {
  std::vector<std::string> unknown;
  absl::c_copy_if(filter.vm_names(), std::back_inserter(unknown), [&](const std::string& name) {
    const Glob glob(name);
    return !known.contains(name) &&
           absl::c_none_of(known, [&](const std::string& one) { return glob.Matches(one); });
  });
  // A list is known as one name, or by its parts.
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

Failure ExplainUnknown(const std::vector<std::string>& unknown, absl::string_view where,
                       ListSource* source) {
  NodeVms all;
  static_cast<void>(source->ReadVms({}, /*stopped_too=*/true, &all));  // a hint alone
  const VmNames names = VmNamesOf(all);
  // The VMs whose names begin like that, else the one that is spelled alike.
  constexpr size_t kProposed = 10;
  std::vector<std::string> begun;
  for (const std::string& name : names) {
    if (absl::StartsWith(name, unknown.front())) begun.push_back(EscapeForTerminal(name));
  }
  const size_t more = begun.size() - std::min(begun.size(), kProposed);
  if (more > 0) begun.resize(kProposed);
  const std::string nearest =
      !begun.empty()
          ? absl::StrCat(absl::StrJoin(begun, ", "),
                         more > 0 ? absl::StrCat(" or ", more, " more") : "")
          : EscapeForTerminal(NearestName(unknown.front(), {names.begin(), names.end()}));
  const auto quote = [](std::string* out, const std::string& name) {
    absl::StrAppend(out, "\"", EscapeForTerminal(name), "\"");
  };
  return NotFound(absl::StrCat("VM ", absl::StrJoin(unknown, ", ", quote)), where,
                  names.empty()     ? "; no VM is"
                  : nearest.empty() ? kListHint
                                    : absl::StrCat("; did you mean ", nearest, "?"));
}

std::optional<Failure> TakeUuids(ListSource* source, v1::EventFilter* filter) {
  v1::EventFilter by_uuid;
  for (const std::string& name : filter->vm_names()) {
    if (ParseUuid(name)) by_uuid.add_uuids(name);
  }
  if (by_uuid.uuids().empty()) return std::nullopt;
  NodeVms vms;
  auto failure = source->ReadVms(by_uuid, /*stopped_too=*/true, &vms);
  if (vms.empty()) return failure;
  if (by_uuid.uuids_size() < filter->vm_names_size()) {
    return Failure{ExitCode::kUsage,
                   absl::StrCat("\"", by_uuid.uuids(0),
                                "\" is a UUID, and not all others are: ask for names and for "
                                "UUIDs with a command each")};
  }
  filter->clear_vm_names();
  filter->mutable_uuids()->MergeFrom(by_uuid.uuids());
  return std::nullopt;
}

std::optional<Failure> CheckNames(const v1::EventFilter& filter, absl::string_view where,
                                  ListSource* source) {
  if (filter.vm_names().empty()) return std::nullopt;
  v1::EventFilter names;
  *names.mutable_vm_names() = filter.vm_names();
  NodeVms runs;
  if (auto failure = source->ReadVms(names, /*stopped_too=*/true, &runs)) return failure;
  std::vector<std::string> unknown;
  for (const std::string& name : UnknownNames(filter, VmNamesOf(runs))) {
    EventsCommand any;
    any.filter.add_vm_names(name);
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
  return ExplainUnknown(unknown, where, source);
}

}  // namespace vmeventd::client
