#pragma once

#include "absl/time/time.h"
#include "watcher/core/vm_update.h"

namespace vmeventd {

// Receives what the watcher sees. Called on the watcher's loop thread; must never block.
class UpdateSink {
 public:
  virtual ~UpdateSink() = default;

  // Takes one step, in the order in which things happened.
  virtual void Push(VmUpdate update) = 0;

  // Called at the end of each turn of the loop, after its last Push().
  virtual void EndTurn() {}

  // Called when everything that happened to VMs up to this time was pushed.
  virtual void Watched(absl::Time /*until*/) {}
};

}  // namespace vmeventd
