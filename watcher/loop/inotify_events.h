#ifndef VMEVENTD_WATCHER_LOOP_INOTIFY_EVENTS_H_
#define VMEVENTD_WATCHER_LOOP_INOTIFY_EVENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace vmeventd {

// One record of inotify(7).
struct InotifyEvent {
  int watch = -1;     // the watch descriptor; -1 with IN_Q_OVERFLOW
  uint32_t mask = 0;  // IN_*
  std::string name;   // of the directory's entry; empty if the event is about the directory itself
};

// Cuts what one read() of an inotify descriptor returned into events. What is left of a record
// that is cut off is ignored: the kernel gives whole records only.
std::vector<InotifyEvent> ParseInotifyEvents(absl::string_view bytes);

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_LOOP_INOTIFY_EVENTS_H_
