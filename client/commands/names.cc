#include "client/commands/names.h"

#include <cstddef>
#include <iterator>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/glob.h"
#include "base/label_selector.h"
#include "base/spelling.h"
#include "base/uuid.h"
#include "client/output/terminal_text.h"
#include "client/output/wanted.h"

namespace vmeventd::client {
namespace {

// "web1, web2", or the first ten "or 3 more"; escaped.
std::string SomeOf(const std::set<std::string>& names) {
  constexpr size_t kShown = 10;
  std::vector<std::string> shown;
  for (const std::string& name : names) {
    if (shown.size() < kShown) shown.push_back(EscapeForTerminal(name));
  }
  return absl::StrCat(
      absl::StrJoin(shown, ", "),
      names.size() > kShown ? absl::StrCat(" or ", names.size() - kShown, " more") : "");
}

}  // namespace

Failure NotFound(absl::string_view what, const Invocation& invocation, absl::string_view hint) {
  return {ExitCode::kNotFound, absl::StrCat("no ", what, " is known", invocation.where, hint)};
}

std::string ListHint(const Invocation& invocation) {
  return absl::StrCat("; ", invocation.Quoted("vms --all"), " lists those that are");
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

Failure ExplainUnknown(const std::vector<std::string>& unknown, const Invocation& invocation,
                       ListSource* source) {
  NodeVms all;
  static_cast<void>(source->ReadVms({}, /*stopped_too=*/true, &all));  // a hint alone
  const VmNames names = VmNamesOf(all);
  // The VMs whose names begin like that, else the one that is spelled alike.
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

std::string ExplainLabels(const v1::EventFilter& filter, ListSource* source) {
  std::vector<std::string> wanted;
  for (const std::string& text : filter.labels()) {
    const auto selector = LabelSelector::Parse(text);
    if (selector.ok()) absl::c_copy(selector->wanted_keys(), std::back_inserter(wanted));
  }
  if (wanted.empty()) return "";
  NodeVms all;
  static_cast<void>(source->ReadVms({}, /*stopped_too=*/true, &all));  // a hint alone
  if (all.empty()) return "";
  std::set<std::string> known;
  for (const NodeVm& one : all) {
    for (const auto& [key, value] : one.vm.ref().labels()) known.insert(key);
  }
  const auto unknown =
      absl::c_find_if(wanted, [&known](const std::string& key) { return !known.contains(key); });
  if (unknown == wanted.end()) return "";
  const std::string none =
      absl::StrCat("; no VM has a label \"", EscapeForTerminal(*unknown), "\"");
  if (known.empty()) return absl::StrCat(none, ", or any other");
  return absl::StrCat(none, DidYouMean({NearestName(*unknown, {known.begin(), known.end()})}),
                      "; the labels are ", SomeOf(known));
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
