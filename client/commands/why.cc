#include "client/commands/why.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <tuple>
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
#include "client/commands/unknown_names.h"
#include "client/commands/uuid_names.h"
#include "client/output/ends_count.h"
#include "client/output/vm_uuids.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

bool IsAlive(const NodeVm& one) {
  return one.vm.state() != v1::VM_STATE_STOPPED && !one.node.stale_since;
}

// Returns whether `a` is the better source for the VM as it is now.
bool IsNewer(const NodeVm& a, const NodeVm& b) {
  if (IsAlive(a) != IsAlive(b)) return IsAlive(a);
  return FromTimestamp(a.vm.state_time()) > FromTimestamp(b.vm.state_time());
}

absl::Time TimeOf(const NodeEvent& event) { return FromTimestamp(event.event.observe_time()); }

// The end as the list of VMs has it, for a run whose STOPPED is no longer stored.
NodeEvent EndOf(const NodeVm& run) {
  NodeEvent end;
  end.node = run.node;
  *end.event.mutable_vm() = run.vm.ref();
  end.event.set_type(v1::EVENT_TYPE_STOPPED);
  *end.event.mutable_observe_time() = run.vm.state_time();
  *end.event.mutable_shutdown() = run.vm.shutdown();
  end.event.set_state(run.vm.state());
  return end;
}

// Collects the ends and the runs of VMs.
class StoryCollector {
 public:
  explicit StoryCollector(absl::Time now) : now_(now) {}

  // Takes a STOPPED. They come in any order.
  void AddEnd(NodeEvent end) {
    ended_.insert(end.event.vm().run_id());
    VmStory story = {.name = end.event.vm().name()};
    if (TimeOf(end) > now_ - kCountedEnds) ++story.ends[end.event.shutdown().shutdown_class()];
    VmStory* const known = StoryOf(end.event.vm(), end.node);
    story.end = std::move(end);
    Merge(std::move(story), known);
  }

  // Takes a known run, after all ends. Adds its end if no STOPPED of the run was taken.
  void AddRun(NodeVm run) {
    if (run.vm.state() == v1::VM_STATE_STOPPED && run.vm.has_shutdown() &&
        !ended_.contains(run.vm.ref().run_id())) {
      AddEnd(EndOf(run));
    }
    VmStory* const known = StoryOf(run.vm.ref(), run.node);
    std::string name = run.vm.ref().name();
    Merge({.name = std::move(name), .vm = std::move(run)}, known);
  }

  // Returns the stories by name. Of VMs with the same name, the present one comes first.
  VmStories Take() const {
    VmUuids uuids;
    for (const auto& [key, story] : stories_) uuids.Add(key.first, key.second);
    std::map<std::pair<VmUuids::Place, std::string>, VmStory> of_places;
    for (const auto& [key, story] : stories_) {
      Merge(story, &of_places[{key.first, uuids.Of(key.first, key.second)}]);
    }
    // A VM without a UUID may have moved to another node, to a source of the same name.
    std::map<std::tuple<std::string, std::string, std::string>, VmStories> vms;
    for (const auto& [key, story] : of_places) {
      const std::string& uuid = key.second;
      vms[{story.name, uuid, uuid.empty() ? story.ref().source() : ""}].push_back(story);
    }
    std::vector<std::pair<std::string, VmStory>> stories;  // each after its UUID
    for (const auto& [key, of_nodes] : vms) {
      // If several VMs run, nobody knows which of them an end belongs to.
      const auto alive = absl::c_count_if(
          of_nodes, [](const VmStory& story) { return story.vm && IsAlive(*story.vm); });
      const auto is_apart = [&](const VmStory& story) {
        return alive > 1 || IsFailedTarget(story);
      };
      if (!absl::c_all_of(of_nodes, is_apart)) stories.emplace_back(std::get<1>(key), VmStory());
      for (const VmStory& story : of_nodes) {
        if (!is_apart(story)) Merge(story, &stories.back().second);
      }
      for (const VmStory& story : of_nodes) {
        if (is_apart(story)) stories.emplace_back(std::get<1>(key), story);
      }
    }
    for (auto& one : stories) {
      VmStory& story = one.second;
      story.is_former =
          !one.first.empty() && !LivesNow(story) && absl::c_any_of(stories, [&](const auto& other) {
            return other.second.name == story.name && !other.first.empty() &&
                   other.first != one.first &&
                   (LivesNow(other.second) || LastTime(other.second) > LastTime(story));
          });
    }
    absl::c_stable_sort(stories, [](const auto& a, const auto& b) {
      const auto rank = [](const VmStory& story) {
        return std::tuple(absl::string_view(story.name), story.is_former,
                          story.is_former ? -absl::ToUnixNanos(LastTime(story)) : 0);
      };
      return rank(a.second) < rank(b.second);
    });
    VmStories result;
    for (auto& [uuid, story] : stories) result.push_back(std::move(story));
    return result;
  }

 private:
  VmStory* StoryOf(const v1::VmRef& vm, const MessageNode& node) {
    return &stories_[{VmUuids::PlaceOf(vm, node), vm.uuid()}];
  }
  static bool LivesNow(const VmStory& story) { return story.vm && IsAlive(*story.vm); }
  // Returns whether the VM was the target of a failed migration, whose end is no end of the VM on
  // another node.
  static bool IsFailedTarget(const VmStory& story) {
    return !LivesNow(story) && story.end && story.end->event.shutdown().never_ran();
  }
  // Returns when a VM that is gone was last known.
  static absl::Time LastTime(const VmStory& story) {
    return std::max(story.end ? TimeOf(*story.end) : absl::InfinitePast(),
                    story.vm ? FromTimestamp(story.vm->vm.state_time()) : absl::InfinitePast());
  }

  static void Merge(VmStory more, VmStory* story) {
    story->name = std::move(more.name);
    if (more.end && (!story->end || TimeOf(*more.end) > TimeOf(*story->end))) {
      story->end = std::move(more.end);
    }
    if (more.vm && (!story->vm || IsNewer(*more.vm, *story->vm))) story->vm = std::move(more.vm);
    for (const auto& [shutdown_class, count] : more.ends) story->ends[shutdown_class] += count;
  }

  const absl::Time now_;
  std::map<std::pair<VmUuids::Place, std::string>, VmStory> stories_;  // by UUID in each place
  std::set<std::string> ended_;  // the runs whose ends were added
};

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

// Explains that some of several nodes did not answer, and that the others have no `what`.
Failure OnNoNode(absl::string_view what, const Failure& failure) {
  return {failure.code,
          absl::StrCat("no ", what, " is known on the nodes that answer; ", failure.sentence)};
}

std::optional<Failure> ExplainEnds(const WhyCommand& command, const Invocation& invocation,
                                   ListSource* source, Formatter* formatter, Output* output) {
  EventsCommand ends;
  *ends.request.mutable_filter() = command.filter;
  ends.request.mutable_filter()->add_types(v1::EVENT_TYPE_STOPPED);
  ends.SetTimes(command.since, command.until);
  ends.request.set_newest_first(true);
  std::optional<Failure> failure = TakeUuids(source, ends.request.mutable_filter());
  if (failure) return failure;
  LateIntents late;
  std::optional<Failure> late_unread =
      ReadLateIntents(ends.request.filter(), command.since, source, &late);
  bool found = false;
  std::optional<Failure> unprinted;
  failure = source->ReadEvents(ends, [&](NodeEvent end) {
    if (end.event.type() != v1::EVENT_TYPE_STOPPED) return true;  // a GAP passes every filter
    found = true;
    VmStory story = {.name = end.event.vm().name(), .shared = true};
    story.end = std::move(end);
    AddLateIntents(late, &story);
    unprinted = PrintText(formatter->FormatWhy(story), output);
    return !unprinted;
  });
  if (unprinted) return unprinted;
  if (!failure) failure = std::move(late_unread);
  if (failure && !found && formatter->shows_nodes()) return OnNoNode("end that matches", *failure);
  if (failure || found) return failure;
  failure = CheckNames(command.filter, invocation, source);
  return failure ? failure : NotFound("end that matches", invocation, "");
}

// Objects that the parts of `why` for VMs share. All must outlive it.
struct Why {
  const WhyCommand& command;
  const Invocation& invocation;
  ListSource* source;
  Formatter* formatter;
  Output* output;
  absl::Time now;
};

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
    std::optional<Failure> failure =
        RunWhy(of_run, why.invocation, why.source, why.formatter, why.output, why.now);
    if (!first) first = std::move(failure);
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
    const bool recent = TimeOf(end) > why.now - kCountedEnds;
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
    std::optional<Failure> unread = ReadLateIntents(filter, std::nullopt, why.source, &late);
    if (!failure) failure = std::move(unread);
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

std::optional<Failure> ExplainVms(const Why& why) {
  v1::EventFilter filter = why.command.filter;
  NodeVms runs;
  std::optional<Failure> failure = TakeUuids(why.source, &filter);
  if (!failure) failure = why.source->ReadVms(filter, /*stopped_too=*/true, &runs);
  if (!failure && runs.empty()) runs = TakeNovaName(why.source, &filter);
  if (failure && runs.empty()) return ExplainWithoutVms(why, filter, *failure);

  VmStories stories;
  std::optional<Failure> unread = ReadStories(why, filter, std::move(runs), &stories);
  if (!failure) failure = std::move(unread);
  VmNames names;
  for (const VmStory& story : stories) {
    names.insert(story.name);
    if (auto unprinted = PrintText(why.formatter->FormatWhy(story), why.output)) return unprinted;
  }

  std::vector<std::string> unknown = UnknownNames(filter, names);
  const size_t all_unknown = unknown.size();
  std::optional<Failure> of_pids = ExplainPids(why, &unknown);
  const bool found = !stories.empty() || unknown.size() < all_unknown;
  if (!failure) failure = std::move(of_pids);
  if (failure) return failure;
  if (stories.empty() && filter.run_ids_size() > 0) {
    return NotFound("such run", why.invocation,
                    absl::StrCat("; ", why.invocation.Quoted("vms NAME --runs -o wide"),
                                 " lists those of a VM"));
  }
  if (!unknown.empty()) return ExplainUnknown(unknown, why.invocation, why.source);
  if (found) return std::nullopt;
  const std::string labels = ExplainLabels(why.command.filter, why.source);
  return NotFound("VM that matches", why.invocation,
                  labels.empty() ? ListHint(why.invocation) : labels);
}

}  // namespace

std::optional<Failure> RunWhy(const WhyCommand& command, const Invocation& invocation,
                              ListSource* source, Formatter* formatter, Output* output,
                              absl::Time now) {
  if (command.is_of_ends()) return ExplainEnds(command, invocation, source, formatter, output);
  return ExplainVms({command, invocation, source, formatter, output, now});
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
