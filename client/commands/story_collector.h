#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "absl/time/time.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "client/output/vm_story.h"
#include "client/output/vm_uuids.h"

namespace vmeventd::client {

// Makes stories of the ends and the runs of VMs, one of each VM: of its newest end, and of its run
// as it is now. A VM is one even if it moved to another node; VMs of one name are told apart by
// their UUIDs. Pure.
class StoryCollector {
 public:
  explicit StoryCollector(absl::Time now) : now_(now) {}

  // Takes a STOPPED. They come in any order.
  void AddEnd(NodeEvent end);
  // Takes a known run, after all ends. Adds its end if no STOPPED of the run was taken.
  void AddRun(NodeVm run);
  // Returns the stories by name. Of VMs with the same name, the present one comes first.
  VmStories Take() const;

 private:
  // The identity of a VM. A VM without a UUID may have moved to another node, to a source of the
  // same name.
  struct VmKey {
    std::string name;
    std::string uuid;    // empty: not known
    std::string source;  // empty: its UUID is known

    bool operator<(const VmKey& other) const {
      return std::tie(name, uuid, source) < std::tie(other.name, other.uuid, other.source);
    }
  };

  VmStory* StoryOf(const v1::VmRef& vm, const MessageNode& node);
  // The stories of each VM, one of each place where it was.
  std::map<VmKey, VmStories> ByVm() const;

  const absl::Time now_;
  std::map<std::pair<VmUuids::Place, std::string>, VmStory> stories_;  // by UUID in each place
  std::set<std::string> ended_;  // the runs whose ends were added
};

// Returns whether `a` shows better than `b` how their VM is now: a living run, otherwise the
// newest.
bool IsNewer(const NodeVm& a, const NodeVm& b);

}  // namespace vmeventd::client
