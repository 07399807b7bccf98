#pragma once

#include <sys/inotify.h>

#include <cstdint>
#include <string>

namespace vmeventd {

// One record of inotify(7).
struct InotifyEvent {
  int watch = -1;     // watch descriptor; -1 with IN_Q_OVERFLOW
  uint32_t mask = 0;  // IN_*
  std::string name;   // entry in the directory; empty if the event is about the directory itself
};

// The bytes of one record, in the form that the kernel writes.
inline std::string EncodeInotifyEvent(const InotifyEvent& event) {
  inotify_event header{};
  header.wd = event.watch;
  header.mask = event.mask;
  header.len = event.name.empty() ? 0 : static_cast<uint32_t>(event.name.size() + 1);
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes.append(event.name);
  bytes.resize(sizeof(header) + header.len, '\0');
  return bytes;
}
}  // namespace vmeventd
