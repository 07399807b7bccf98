#include <algorithm>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/patterns.h"
#include "base/text.h"
#include "base/uuid.h"
#include "client/commands/commands.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

// The time whose ends are counted.
constexpr absl::Duration kCounted = absl::Hours(24);

bool IsAlive(const NodeVm& one) {
  return one.vm.state() != v1::VM_STATE_STOPPED && !one.node.stale_since;
}

// Returns whether `a` is the better source for the VM as it is now.
bool IsNewer(const NodeVm& a, const NodeVm& b) {
  if (IsAlive(a) != IsAlive(b)) return IsAlive(a);
  return FromProto(a.vm.state_time()) > FromProto(b.vm.state_time());
}

absl::Time TimeOf(const NodeEvent& event) { return FromProto(event.event.observe_time()); }

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

void Merge(const VmStory& other, VmStory* story) {
  if (other.end && (!story->end || TimeOf(*other.end) > TimeOf(*story->end))) {
    story->end = other.end;
  }
  if (other.vm && (!story->vm || IsNewer(*other.vm, *story->vm))) story->vm = other.vm;
  for (const auto& [shutdown_class, count] : other.ends) story->ends[shutdown_class] += count;
}

const std::string& UuidOf(const VmStory& story) {
  return story.vm && !story.vm->vm.ref().uuid().empty() ? story.vm->vm.ref().uuid()
         : story.end                                    ? story.end->event.vm().uuid()
                                                        : story.vm->vm.ref().uuid();
}

const MessageNode& NodeOf(const VmStory& story) {
  return story.vm ? story.vm->node : story.end->node;
}

// Returns whether the stories of one name, of two sources or nodes, may be of one VM that moved.
bool AreOfOneVm(const VmStory& a, const VmStory& b) {
  const bool moved = NodeOf(a).name != NodeOf(b).name || NodeOf(a).cluster != NodeOf(b).cluster;
  return UuidOf(a) == UuidOf(b) && (moved || !UuidOf(a).empty());
}

bool IsGlob(const std::string& name) { return name.find_first_of("*?[") != std::string::npos; }

}  // namespace

VmStory* StoryCollector::StoryOf(const v1::VmRef& vm, const MessageNode& node) {
  VmStory* story = &stories_[{vm.name(), node.cluster, node.name, vm.source()}];
  story->name = vm.name();
  return story;
}

void StoryCollector::AddRun(NodeVm run) {
  VmStory* const story = StoryOf(run.vm.ref(), run.node);
  if (run.vm.state() == v1::VM_STATE_STOPPED && run.vm.has_shutdown() &&
      !ended_.contains(run.vm.ref().run_id())) {
    AddEnd(EndOf(run));
  }
  if (!story->vm || IsNewer(run, *story->vm)) story->vm = std::move(run);
}

void StoryCollector::AddEnd(NodeEvent end) {
  if (end.event.type() != v1::EVENT_TYPE_STOPPED) return;
  VmStory* const story = StoryOf(end.event.vm(), end.node);
  const absl::Time time = TimeOf(end);
  ended_.insert(end.event.vm().run_id());
  if (time > now_ - kCounted) ++story->ends[end.event.shutdown().shutdown_class()];
  if (!story->end || time > TimeOf(*story->end)) story->end = std::move(end);
}

VmStories StoryCollector::Take() const {
  // It is not known which of several VMs that live an end is of.
  std::map<std::pair<std::string, std::string>, int> alive;  // by name and UUID
  for (const auto& [key, story] : stories_) {
    if (story.vm && IsAlive(*story.vm)) ++alive[{story.name, UuidOf(story)}];
  }
  VmStories stories;
  for (const auto& entry : stories_) {
    const VmStory& story = entry.second;
    // They are sorted by name.
    const auto others = std::find_if(stories.rbegin(), stories.rend(), [&](const VmStory& one) {
                          return one.name != story.name;
                        }).base();
    const auto same = std::find_if(others, stories.end(),
                                   [&](const VmStory& one) { return AreOfOneVm(one, story); });
    if (same == stories.end() || alive[{story.name, UuidOf(story)}] > 1) {
      stories.push_back(story);
    } else {
      Merge(story, &*same);
    }
  }
  return stories;
}

std::vector<std::string> UnknownNames(const v1::EventFilter& filter, const VmStories& stories) {
  std::vector<std::string> unknown;
  for (const std::string& name : filter.vm_names()) {
    const Glob glob(name);
    const bool known = std::any_of(stories.begin(), stories.end(), [&](const VmStory& story) {
      return story.name == name || glob.Matches(story.name);
    });
    if (!known) unknown.push_back(name);
  }
  // A list is known as one name, or by its parts.
  for (const std::string& list : filter.vm_names()) {
    const std::set<std::string> parts = absl::StrSplit(list, ',', absl::SkipEmpty());
    if (parts.empty() || parts.contains(list) || !IsWanted(filter.vm_names(), *parts.begin())) {
      continue;
    }
    const bool known = !absl::c_linear_search(unknown, list);
    std::erase_if(unknown, [&](const std::string& name) {
      return known ? parts.contains(name) : name == list;
    });
  }
  return unknown;
}

std::optional<Failure> TakeUuids(ListSource* source, v1::EventFilter* filter) {
  VmsCommand by_name;
  VmsCommand by_uuid;
  by_name.include_stopped = by_uuid.include_stopped = true;
  for (const std::string& name : filter->vm_names()) {
    if (!ParseUuid(name)) continue;
    by_name.filter.add_vm_names(name);
    by_uuid.filter.add_uuids(name);
  }
  if (by_uuid.filter.uuids().empty()) return std::nullopt;
  NodeVms vms;
  static_cast<void>(source->ReadVms(by_name, &vms));  // the next request fails, too
  if (!vms.empty()) return std::nullopt;
  const auto failure = source->ReadVms(by_uuid, &vms);
  if (vms.empty()) return failure;
  if (by_uuid.filter.uuids_size() < filter->vm_names_size()) {
    return Failure{ExitCode::kUsage,
                   absl::StrCat("\"", by_uuid.filter.uuids(0),
                                "\" is a UUID, and not all others are: ask for names and for "
                                "UUIDs with a command each")};
  }
  filter->clear_vm_names();
  filter->mutable_uuids()->MergeFrom(by_uuid.filter.uuids());
  return std::nullopt;
}

namespace {

// Reads the runs of the VMs.
std::optional<Failure> ReadRuns(ListSource* source, const v1::EventFilter& filter, NodeVms* runs) {
  VmsCommand list;
  list.filter = filter;
  list.include_stopped = true;
  auto failure = source->ReadVms(list, runs);
  std::erase_if(*runs, [&filter](const NodeVm& one) {
    return !IsWanted(filter.run_ids(), one.vm.ref().run_id());
  });
  return failure;
}

// Says what is known instead of these names.
Failure ExplainUnknown(const std::vector<std::string>& unknown, absl::string_view where,
                       ListSource* source) {
  NodeVms all;
  VmsCommand list;
  list.include_stopped = true;
  static_cast<void>(source->ReadVms(list, &all));  // a hint alone
  std::set<std::string> names;
  for (const NodeVm& one : all) names.insert(one.vm.ref().name());
  const std::vector<std::string> known(names.begin(), names.end());
  const std::string quoted =
      absl::StrJoin(unknown, ", ", [](std::string* out, const std::string& name) {
        absl::StrAppend(out, "\"", EscapeForTerminal(name), "\"");
      });
  const std::string nearest = NearestName(unknown.front(), known);
  constexpr size_t kShown = 5;
  std::string hint;
  if (known.empty()) {
    hint = "; no VM is";
  } else if (!nearest.empty()) {
    hint = absl::StrCat("; did you mean ", EscapeForTerminal(nearest), "?");
  } else if (known.size() <= kShown) {
    hint = absl::StrCat("; known are ", EscapeForTerminal(absl::StrJoin(known, ", ")));
  } else {
    hint = absl::StrCat("; `vmevents vms --all` lists the ", known.size(), " that are");
  }
  return {ExitCode::kNotFound, absl::StrCat("no VM ", quoted, " is known", where, hint)};
}

}  // namespace

std::optional<Failure> CheckNames(const v1::EventFilter& filter, absl::string_view where,
                                  ListSource* source) {
  if (filter.vm_names().empty()) return std::nullopt;
  v1::EventFilter names;
  *names.mutable_vm_names() = filter.vm_names();
  NodeVms runs;
  if (auto failure = ReadRuns(source, names, &runs)) return failure;
  StoryCollector known(absl::InfiniteFuture());
  for (NodeVm& run : runs) known.AddRun(std::move(run));
  std::vector<std::string> unknown;
  for (const std::string& name : UnknownNames(filter, known.Take())) {
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

std::optional<Failure> RunWhy(const WhyCommand& command, absl::string_view where,
                              ListSource* source, Formatter* formatter, Output* output,
                              absl::Time now) {
  v1::EventFilter filter = command.filter;
  NodeVms runs;
  std::optional<Failure> failure = TakeUuids(source, &filter);
  if (!failure) failure = ReadRuns(source, filter, &runs);
  if (failure && runs.empty()) return failure;
  // VMs whose end is looked for however old it is, each after its node, which is empty where it is
  // not known.
  std::set<std::pair<std::string, std::string>> wanted;
  for (const std::string& name : filter.vm_names()) {
    if (!IsGlob(name)) wanted.emplace("", name);
  }
  StoryCollector collector(now);
  for (const NodeVm& run : runs) wanted.emplace(run.node.name, run.vm.ref().name());
  EventsCommand ends;
  ends.filter = filter;
  ends.filter.add_types(v1::EVENT_TYPE_STOPPED);
  ends.newest_first = true;
  auto unread = source->ReadEvents(ends, [&](NodeEvent end) {
    const bool recent = TimeOf(end) > now - kCounted;
    // A GAP passes every filter.
    if (end.event.type() == v1::EVENT_TYPE_STOPPED) {
      wanted.erase({"", end.event.vm().name()});
      wanted.erase({end.node.name, end.event.vm().name()});
    }
    collector.AddEnd(std::move(end));
    return recent || !wanted.empty();
  });
  if (!failure) failure = std::move(unread);
  for (NodeVm& run : runs) collector.AddRun(std::move(run));
  VmStories stories = collector.Take();
  for (VmStory& story : stories) {
    // An ended run does not say what its VM does now.
    if (story.end && filter.run_ids_size() > 0) story.vm.reset();
    story.shared =
        filter.uuids_size() > 0 || absl::c_count_if(stories, [&story](const VmStory& other) {
                                     return other.name == story.name;
                                   }) > 1;
  }
  for (const VmStory& story : stories) {
    if (auto printed = PrintText(formatter->FormatWhy(story), output)) return printed;
  }
  if (failure) return failure;
  if (stories.empty() && filter.run_ids_size() > 0) {
    VmsCommand all;
    all.include_stopped = true;
    static_cast<void>(source->ReadVms(all, &runs));  // a hint alone
    const auto run = absl::c_find_if(runs, [&filter](const NodeVm& one) {
      return absl::c_linear_search(filter.run_ids(), one.vm.ref().run_id());
    });
    if (run != runs.end()) {
      return Failure{
          ExitCode::kNotFound,
          absl::StrCat("the run ", EscapeForTerminal(run->vm.ref().run_id()), " is of the VM \"",
                       EscapeForTerminal(run->vm.ref().name()), "\", which is not chosen")};
    }
    return Failure{ExitCode::kNotFound,
                   absl::StrCat("no such run is known", where,
                                "; `vmevents vms NAME --runs -o wide` lists those of a VM")};
  }
  const std::vector<std::string> unknown = UnknownNames(filter, stories);
  if (!unknown.empty()) return ExplainUnknown(unknown, where, source);
  if (!stories.empty()) return std::nullopt;
  return Failure{ExitCode::kNotFound, absl::StrCat("no VM that matches is known", where,
                                                   "; `vmevents vms --all` lists those that are")};
}

}  // namespace vmeventd::client
