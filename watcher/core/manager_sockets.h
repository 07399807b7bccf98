#pragma once

#include <optional>
#include <string>

#include "watcher/core/watch_spec.h"

namespace vmeventd {

// A monitor that belongs to a VM manager. A QEMU's monitor serves one client: a daemon that holds
// this one stops the manager.
struct ManagerMonitor {
  std::string socket;  // a path that the --watch would take
  std::string owner;   // the program that needs it
  std::string cure;    // what to write instead, as an imperative
};

// Advice instead of a watch of the directory, which may contain "*" and is a manager's. Empty:
// no known manager has such a directory.
std::string CureForManagersDirectory(absl::string_view directory);

// The first known manager's monitor that `watch` matches, judged by the paths alone:
// docs/managers.md lists them. Makes no system call.
std::optional<ManagerMonitor> FindManagerMonitor(const WatchSpec& watch);

}  // namespace vmeventd
