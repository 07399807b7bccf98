#pragma once

#include <map>
#include <set>

#include "tests/simulation/life.h"
#include "watcher/core/vm_event.h"

namespace vmeventd::simulation {

// What docs/classification.md makes of a life, written down a second time: by what was said, and
// how the process ended. `powerdown_window` as the daemon has it.

// What a daemon has seen of an end, beside what was said.
struct Seen {
  bool monitored = false;     // the monitor was followed to the end
  bool status_known = false;  // the kernel reported how the process ended
  bool killer = false;        // and that another process of the host had killed it
  bool end_unseen = false;    // it had ended before the daemon went on with what it was handed
};
// The class by the sayings with the given places in `life.sayings`, in order.
ShutdownClass ClassBy(const Life& life, const std::vector<size_t>& heard, const Seen& seen);

// The classes that a truthful daemon may give, whatever the intents. `last_daemon` published the
// end. `kept`: of what these daemons have read so much outlived them for certain. `host_shut_down`:
// at some time of its life its host was shutting down.
std::set<ShutdownClass> AllowedClasses(const Life& life, int last_daemon,
                                       const std::map<int, size_t>& kept, bool host_shut_down);

}  // namespace vmeventd::simulation
