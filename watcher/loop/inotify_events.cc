#include "watcher/loop/inotify_events.h"

#include <sys/inotify.h>

#include <cstring>
#include <utility>

namespace vmeventd {

std::vector<InotifyEvent> ParseInotifyEvents(absl::string_view bytes) {
  std::vector<InotifyEvent> events;
  inotify_event header;
  while (bytes.size() >= sizeof(header)) {
    std::memcpy(&header, bytes.data(), sizeof(header));
    bytes.remove_prefix(sizeof(header));
    if (bytes.size() < header.len) break;
    // The name is padded with zero bytes.
    const absl::string_view padded = bytes.substr(0, header.len);
    std::string name(padded.substr(0, padded.find('\0')));
    events.push_back({header.wd, header.mask, std::move(name)});
    bytes.remove_prefix(header.len);
  }
  return events;
}

}  // namespace vmeventd
