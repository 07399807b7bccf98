#pragma once

#include <map>
#include <set>

#include "tests/simulation/life.h"
#include "watcher/core/vm_event.h"

namespace vmeventd::simulation {

// A second writing of docs/internals/classification.md: the class of a life, by what was said, and
// how the process ended. `powerdown_window` as the daemon has it.

// Facts that a daemon has seen of an end, beside what was said.
struct Seen {
  bool monitored = false;     // the monitor was followed to the end
  bool status_known = false;  // the kernel reported how the process ended
  bool killer = false;        // another process of the host killed it, by the kernel's report
  bool end_unseen = false;    // the end came before the daemon went on with what it was handed
};
// The class by the sayings with the given places in `life.sayings`, in order.
ShutdownClass ClassBy(const Life& life, const std::vector<size_t>& heard, const Seen& seen);

// The classes that a truthful daemon may give, whatever the intents. `last_daemon` published the
// end. `kept`: the number of sayings that these daemons have read and that outlived them for
// certain. `host_shut_down`: at some time of its life its host was shutting down. `reads_exit`:
// the daemon can read how a process that it follows has ended.
std::set<ShutdownClass> AllowedClasses(const Life& life, int last_daemon,
                                       const std::map<int, size_t>& kept, bool host_shut_down,
                                       bool reads_exit);

}  // namespace vmeventd::simulation
