#pragma once

#include <vector>

#include "watcher/core/vm_event.h"

namespace vmeventd {

// Destination of what the watcher sees. Called on the watcher's loop thread; must never block.
class EventSink {
 public:
  virtual ~EventSink() = default;

  // Takes one step, in the order in which things happened.
  virtual void Push(VmUpdate update) = 0;

  // A turn of the loop is over: nothing is pushed before it has waited for input again.
  virtual void EndTurn() {}

  // Sets the watched directories as they are now; called whenever one of them changes.
  virtual void SetDirectories(std::vector<WatchedDirectory> directories) = 0;
};

}  // namespace vmeventd
