#include "client/commands/why.h"

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/glob.h"
#include "client/commands/label_hint.h"
#include "client/commands/not_found.h"
#include "client/commands/print.h"
#include "client/commands/story_collector.h"
#include "client/commands/unknown_names.h"
#include "client/commands/uuid_names.h"
#include "client/output/ends_count.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

// The label with the name that a user of OpenStack gave the VM.
constexpr char kNovaName[] = "nova.name";

// Replaces the filter's only name by the UUIDs of the VMs that nova calls so, unless a VM has that
// name. Returns those VMs.
NodeVms TakeNovaName(ListSource* source, v1::EventFilter* filter) {
  if (filter->vm_names_size() != 1 || IsGlob(filter->vm_names(0))) return {};
  const std::string name = filter->vm_names(0);
  v1::EventFilter by_label;
  by_label.add_labels(
      absl::StrCat(kNovaName, "=", absl::StrReplaceAll(name, {{"\\", "\\\\"}, {",", "\\,"}})));
  NodeVms vms;
  static_cast<void>(source->ReadVms(by_label, /*stopped_too=*/true, &vms));
  std::erase_if(vms, [&name](const NodeVm& one) {
    const auto found = one.vm.ref().labels().find(kNovaName);
    return found == one.vm.ref().labels().end() || found->second != name;
  });
  if (!vms.empty()) filter->clear_vm_names();
  for (const NodeVm& one : vms) {
    const std::string& uuid = one.vm.ref().uuid();
    if (!absl::c_linear_search(filter->uuids(), uuid)) filter->add_uuids(uuid);
  }
  return vms;
}

// Returns a filter for the run whose pid is the name; unset: the name is no number, or no such run
// is known.
std::optional<v1::EventFilter> FilterOfPid(ListSource* source, const std::string& name) {
  int64_t pid = 0;
  if (!absl::SimpleAtoi(name, &pid) || pid <= 0) return std::nullopt;
  std::optional<Failure> failure;  // the caller's own list fails for the same reason
  std::string run = RunOfPid(source, {}, pid, &failure);
  if (run.empty()) return std::nullopt;
  v1::EventFilter of_run;
  of_run.add_run_ids(std::move(run));
  return of_run;
}

using LateIntents = std::map<std::string, std::vector<v1::Event>>;  // INTENT_LATE events by run

// Reads the intents that came too late for the ends of those VMs: such an intent decides no class,
// but names who was at work.
std::optional<Failure> ReadLateIntents(const v1::EventFilter& filter,
                                       std::optional<absl::Time> since, ListSource* source,
                                       LateIntents* intents) {
  EventsCommand late;
  *late.request.mutable_filter() = filter;
  late.request.mutable_filter()->clear_types();
  late.request.mutable_filter()->clear_classes();
  late.request.mutable_filter()->clear_causes();
  late.request.mutable_filter()->add_types(v1::EVENT_TYPE_INTENT_LATE);
  late.SetTimes(since, std::nullopt);
  return source->ReadEvents(late, [intents](NodeEvent event) {
    // A GAP passes every filter.
    if (event.event.type() == v1::EVENT_TYPE_INTENT_LATE) {
      (*intents)[event.event.vm().run_id()].push_back(std::move(event.event));
    }
    return true;
  });
}

void AddLateIntents(const LateIntents& intents, VmStory* story) {
  if (!story->end) return;
  const auto found = intents.find(story->end->event.vm().run_id());
  if (found != intents.end()) story->late_intents = found->second;
}

std::optional<Failure> FirstOf(std::optional<Failure> first, std::optional<Failure> second) {
  return first ? std::move(first) : std::move(second);
}

// Explains that some of several nodes did not answer, and that the others have no `what`.
Failure OnNoNode(absl::string_view what, const Failure& failure) {
  return {failure.code,
          absl::StrCat("no ", what, " is known on the nodes that answer; ", failure.sentence)};
}

// A call of RunWhy(), which all parts of it share. Its arguments must outlive it.
struct Why {
  const WhyCommand& command;
  const Invocation& invocation;
  ListSource* source;
  Formatter* formatter;
  Output* output;
  absl::Time now;
};

// Explains each end that the filter selects.
std::optional<Failure> ExplainEnds(const Why& why) {
  const WhyCommand& command = why.command;
  EventsCommand ends;
  *ends.request.mutable_filter() = command.filter;
  ends.request.mutable_filter()->add_types(v1::EVENT_TYPE_STOPPED);
  ends.SetTimes(command.since, command.until);
  ends.request.set_newest_first(true);
  std::optional<Failure> failure = TakeUuids(why.source, ends.request.mutable_filter());
  if (failure) return failure;
  LateIntents late;
  std::optional<Failure> late_unread =
      ReadLateIntents(ends.request.filter(), command.since, why.source, &late);
  bool found = false;
  std::optional<Failure> unprinted;
  failure = why.source->ReadEvents(ends, [&](NodeEvent end) {
    if (end.event.type() != v1::EVENT_TYPE_STOPPED) return true;  // a GAP passes every filter
    found = true;
    VmStory story = {.name = end.event.vm().name(), .shared = true};
    story.end = std::move(end);
    AddLateIntents(late, &story);
    unprinted = PrintText(why.formatter->FormatWhy(story), why.output);
    return !unprinted;
  });
  if (unprinted) return unprinted;
  failure = FirstOf(std::move(failure), std::move(late_unread));
  if (failure && !found && why.formatter->shows_nodes()) {
    return OnNoNode("end that matches", *failure);
  }
  if (failure || found) return failure;
  failure = CheckNames(command.filter, why.invocation, why.source);
  return failure ? failure : NotFound("end that matches", why.invocation, "");
}

// A name that no VM has may be a pid. Explains the names that are, and leaves the others in
// `names`. Returns the first failure.
std::optional<Failure> ExplainPids(const Why& why, std::vector<std::string>* names) {
  std::optional<Failure> first;
  std::vector<std::string> others;
  for (std::string& name : *names) {
    std::optional<v1::EventFilter> of_pid = FilterOfPid(why.source, name);
    if (!of_pid) {
      others.push_back(std::move(name));
      continue;
    }
    WhyCommand of_run = why.command;
    of_run.filter = *std::move(of_pid);
    first = FirstOf(std::move(first),
                    RunWhy(of_run, why.invocation, why.source, why.formatter, why.output, why.now));
  }
  *names = std::move(others);
  return first;
}

// No VM could be read, because of `failure`: explains the names that are pids.
std::optional<Failure> ExplainWithoutVms(const Why& why, const v1::EventFilter& filter,
                                         const Failure& failure) {
  std::vector<std::string> names(filter.vm_names().begin(), filter.vm_names().end());
  const size_t all = names.size();
  if (auto of_pids = ExplainPids(why, &names)) return of_pids;
  if (names.size() < all) return failure;
  return why.formatter->shows_nodes() ? OnNoNode("VM that matches", failure) : failure;
}

// Reads the ends of the last time (kCountedEnds), and older ones until each named VM and each of
// `runs` has one.
std::optional<Failure> ReadEnds(const Why& why, const v1::EventFilter& filter, const NodeVms& runs,
                                StoryCollector* collector) {
  // VMs whose end is wanted however old it is, as pairs of node and VM. The node is empty if it is
  // not known.
  std::set<std::pair<std::string, std::string>> wanted;
  for (const std::string& name : filter.vm_names()) {
    if (!IsGlob(name)) wanted.emplace("", name);
  }
  for (const NodeVm& run : runs) wanted.emplace(run.node.name, run.vm.ref().name());
  EventsCommand ends;
  *ends.request.mutable_filter() = filter;
  ends.request.mutable_filter()->add_types(v1::EVENT_TYPE_STOPPED);
  ends.request.set_newest_first(true);
  return why.source->ReadEvents(ends, [&](NodeEvent end) {
    const bool recent = FromTimestamp(end.event.observe_time()) > why.now - kCountedEnds;
    // A GAP passes every filter.
    if (end.event.type() == v1::EVENT_TYPE_STOPPED) {
      wanted.erase({"", end.event.vm().name()});
      wanted.erase({end.node.name, end.event.vm().name()});
      collector->AddEnd(std::move(end));
    }
    return recent || !wanted.empty();
  });
}

// Reads the stories of the VMs that the filter selects. Returns the first failure; what could be
// read is in `stories` all the same.
std::optional<Failure> ReadStories(const Why& why, const v1::EventFilter& filter, NodeVms runs,
                                   VmStories* stories) {
  StoryCollector collector(why.now);
  std::optional<Failure> failure = ReadEnds(why, filter, runs, &collector);
  for (NodeVm& run : runs) collector.AddRun(std::move(run));
  *stories = collector.Take();
  LateIntents late;
  if (absl::c_any_of(*stories, [](const VmStory& story) { return story.end.has_value(); })) {
    failure = FirstOf(std::move(failure), ReadLateIntents(filter, std::nullopt, why.source, &late));
  }
  for (VmStory& story : *stories) {
    // An ended run does not show the present state of its VM.
    if (story.end && filter.run_ids_size() > 0) story.vm.reset();
    const auto of_name = absl::c_count_if(
        *stories, [&story](const VmStory& other) { return other.name == story.name; });
    story.shared = filter.uuids_size() > 0 || of_name > 1;
    AddLateIntents(late, &story);
  }
  return failure;
}

// Prints the stories; `names` gets the names of their VMs. Returns why they could not be printed.
std::optional<Failure> PrintStories(const Why& why, const VmStories& stories, VmNames* names) {
  for (const VmStory& story : stories) {
    names->insert(story.name);
    if (auto unprinted = PrintText(why.formatter->FormatWhy(story), why.output)) return unprinted;
  }
  return std::nullopt;
}

Failure NoSuchRun(const Why& why) {
  return NotFound(
      "such run", why.invocation,
      absl::StrCat("; ", why.invocation.Quoted("vms NAME --runs -o wide"), " lists those of a VM"));
}

Failure NothingMatches(const Why& why) {
  const std::string labels = ExplainLabels(why.command.filter, why.source);
  return NotFound("VM that matches", why.invocation,
                  labels.empty() ? ListHint(why.invocation) : labels);
}

// Explains the VMs that the filter selects, and each name that is a pid. What is known is printed
// also if there is a failure: the first one is returned, otherwise what was not found.
std::optional<Failure> ExplainVms(const Why& why) {
  v1::EventFilter filter = why.command.filter;
  NodeVms runs;
  std::optional<Failure> failure = TakeUuids(why.source, &filter);
  if (!failure) failure = why.source->ReadVms(filter, /*stopped_too=*/true, &runs);
  if (!failure && runs.empty()) runs = TakeNovaName(why.source, &filter);
  if (failure && runs.empty()) return ExplainWithoutVms(why, filter, *failure);

  VmStories stories;
  failure = FirstOf(std::move(failure), ReadStories(why, filter, std::move(runs), &stories));
  VmNames names;
  if (auto unprinted = PrintStories(why, stories, &names)) return unprinted;

  std::vector<std::string> unknown = UnknownNames(filter, names);
  const size_t all_unknown = unknown.size();
  failure = FirstOf(std::move(failure), ExplainPids(why, &unknown));
  if (failure) return failure;
  if (stories.empty() && filter.run_ids_size() > 0) return NoSuchRun(why);
  if (!unknown.empty()) return ExplainUnknown(unknown, why.invocation, why.source);
  const bool found_pids = all_unknown > 0;  // all unknown names were pids
  if (stories.empty() && !found_pids) return NothingMatches(why);
  return std::nullopt;
}

}  // namespace

std::optional<Failure> RunWhy(const WhyCommand& command, const Invocation& invocation,
                              ListSource* source, Formatter* formatter, Output* output,
                              absl::Time now) {
  const Why why = {command, invocation, source, formatter, output, now};
  return command.is_of_ends() ? ExplainEnds(why) : ExplainVms(why);
}

std::string RunOfPid(ListSource* source, const v1::EventFilter& vms, int64_t pid,
                     std::optional<Failure>* failure) {
  v1::EventFilter filter;
  *filter.mutable_vm_names() = vms.vm_names();
  *filter.mutable_uuids() = vms.uuids();
  NodeVms runs;
  *failure = source->ReadVms(filter, /*stopped_too=*/true, &runs);
  std::erase_if(runs, [pid](const NodeVm& one) { return one.vm.ref().pid() != pid; });
  if (!runs.empty()) return absl::c_min_element(runs, IsNewer)->vm.ref().run_id();
  EventsCommand ends;
  *ends.request.mutable_filter() = std::move(filter);
  ends.request.mutable_filter()->add_types(v1::EVENT_TYPE_STOPPED);
  ends.request.set_newest_first(true);
  std::string run;
  auto unread = source->ReadEvents(ends, [&](const NodeEvent& end) {
    if (end.event.vm().pid() == pid) run = end.event.vm().run_id();
    return run.empty();
  });
  if (unread) *failure = std::move(unread);
  return run;
}

}  // namespace vmeventd::client
