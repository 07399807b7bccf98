#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The last end of a VM, and the VM as it is now.
struct VmStory {
  std::string name;
  std::optional<NodeEvent> end;           // the VM's newest STOPPED; unset: none is known
  std::optional<NodeVm> vm;               // the VM's newest run; unset: only the end is known
  std::vector<v1::Event> late_intents;    // the INTENT_LATE events of that end's run, oldest first
  std::map<v1::ShutdownClass, int> ends;  // number of ends in the last 24 hours
  bool shared = false;                    // another VM may have the same name
  bool is_former = false;  // another VM has the same name now, or had it after this one

  const v1::VmRef& ref() const { return vm ? vm->vm.ref() : end->event.vm(); }
};
using VmStories = std::vector<VmStory>;

}  // namespace vmeventd::client
