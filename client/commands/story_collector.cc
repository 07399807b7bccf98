#include "client/commands/story_collector.h"

#include <algorithm>
#include <iterator>
#include <tuple>

#include "absl/algorithm/container.h"
#include "absl/strings/string_view.h"
#include "client/output/ends_count.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

// A story, and the UUID of its VM; empty: not known.
struct UuidStory {
  std::string uuid;
  VmStory story;
};
using UuidStories = std::vector<UuidStory>;

bool IsAlive(const NodeVm& one) {
  return one.vm.state() != v1::VM_STATE_STOPPED && !one.node.stale_since;
}

bool LivesNow(const VmStory& story) { return story.vm && IsAlive(*story.vm); }

absl::Time TimeOf(const NodeEvent& event) { return FromTimestamp(event.event.observe_time()); }

// Returns when a VM that is gone was last known.
absl::Time LastTime(const VmStory& story) {
  return std::max(story.end ? TimeOf(*story.end) : absl::InfinitePast(),
                  story.vm ? FromTimestamp(story.vm->vm.state_time()) : absl::InfinitePast());
}

// Returns whether the VM was the target of a failed migration, whose end is no end of the VM on
// another node.
bool IsFailedTarget(const VmStory& story) {
  return !LivesNow(story) && story.end && story.end->event.shutdown().never_ran();
}

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

void Merge(VmStory more, VmStory* story) {
  story->name = std::move(more.name);
  if (more.end && (!story->end || TimeOf(*more.end) > TimeOf(*story->end))) {
    story->end = std::move(more.end);
  }
  if (more.vm && (!story->vm || IsNewer(*more.vm, *story->vm))) story->vm = std::move(more.vm);
  for (const auto& [shutdown_class, count] : more.ends) story->ends[shutdown_class] += count;
}

// Joins the stories of one VM in several places, which are not empty. Those that may be of another
// VM, or that say nothing of this one, stay apart.
VmStories JoinPlaces(VmStories of_places) {
  // If several VMs run, nobody knows which of them an end belongs to.
  const bool several_run = absl::c_count_if(of_places, LivesNow) > 1;
  VmStories joined;
  VmStories apart;
  for (VmStory& story : of_places) {
    if (several_run || IsFailedTarget(story)) {
      apart.push_back(std::move(story));
    } else {
      if (joined.empty()) joined.emplace_back();
      Merge(std::move(story), &joined[0]);
    }
  }
  absl::c_move(apart, std::back_inserter(joined));
  return joined;
}

// Marks the VMs whose name another VM has now, or had after them.
void MarkFormer(UuidStories* stories) {
  const auto replaces = [](const UuidStory& other, const UuidStory& one) {
    return other.story.name == one.story.name && !other.uuid.empty() && other.uuid != one.uuid &&
           (LivesNow(other.story) || LastTime(other.story) > LastTime(one.story));
  };
  for (UuidStory& one : *stories) {
    if (one.uuid.empty() || LivesNow(one.story)) continue;
    one.story.is_former =
        absl::c_any_of(*stories, [&](const UuidStory& other) { return replaces(other, one); });
  }
}

// Sorts by name; former VMs come after the present one, the newest first.
void SortByName(UuidStories* stories) {
  absl::c_stable_sort(*stories, [](const UuidStory& a, const UuidStory& b) {
    const auto rank = [](const VmStory& story) {
      return std::tuple(absl::string_view(story.name), story.is_former,
                        story.is_former ? -absl::ToUnixNanos(LastTime(story)) : 0);
    };
    return rank(a.story) < rank(b.story);
  });
}

}  // namespace

bool IsNewer(const NodeVm& a, const NodeVm& b) {
  if (IsAlive(a) != IsAlive(b)) return IsAlive(a);
  return FromTimestamp(a.vm.state_time()) > FromTimestamp(b.vm.state_time());
}

void StoryCollector::AddEnd(NodeEvent end) {
  ended_.insert(end.event.vm().run_id());
  VmStory story = {.name = end.event.vm().name()};
  if (TimeOf(end) > now_ - kCountedEnds) ++story.ends[end.event.shutdown().shutdown_class()];
  VmStory* const known = StoryOf(end.event.vm(), end.node);
  story.end = std::move(end);
  Merge(std::move(story), known);
}

void StoryCollector::AddRun(NodeVm run) {
  if (run.vm.state() == v1::VM_STATE_STOPPED && run.vm.has_shutdown() &&
      !ended_.contains(run.vm.ref().run_id())) {
    AddEnd(EndOf(run));
  }
  VmStory* const known = StoryOf(run.vm.ref(), run.node);
  std::string name = run.vm.ref().name();
  Merge({.name = std::move(name), .vm = std::move(run)}, known);
}

VmStory* StoryCollector::StoryOf(const v1::VmRef& vm, const MessageNode& node) {
  return &stories_[{VmUuids::PlaceOf(vm, node), vm.uuid()}];
}

std::map<StoryCollector::VmKey, VmStories> StoryCollector::ByVm() const {
  VmUuids uuids;
  for (const auto& [key, story] : stories_) uuids.Add(key.first, key.second);
  std::map<std::pair<VmUuids::Place, std::string>, VmStory> of_places;
  for (const auto& [key, story] : stories_) {
    Merge(story, &of_places[{key.first, uuids.Of(key.first, key.second)}]);
  }
  std::map<VmKey, VmStories> vms;
  for (auto& [key, story] : of_places) {
    const std::string& uuid = key.second;
    VmKey vm = {story.name, uuid, uuid.empty() ? story.ref().source() : ""};
    vms[std::move(vm)].push_back(std::move(story));
  }
  return vms;
}

VmStories StoryCollector::Take() const {
  UuidStories stories;
  for (auto& [key, of_places] : ByVm()) {
    for (VmStory& story : JoinPlaces(std::move(of_places))) {
      stories.push_back({key.uuid, std::move(story)});
    }
  }
  MarkFormer(&stories);
  SortByName(&stories);
  VmStories result;
  for (UuidStory& one : stories) result.push_back(std::move(one.story));
  return result;
}

}  // namespace vmeventd::client
