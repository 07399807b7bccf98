#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "watcher/core/watch_spec.h"

// The parts of a monitor's path, and what its names show. Pure.

namespace vmeventd::client {

// The directory of a path, with its final slash.
inline absl::string_view DirectoryOf(absl::string_view path) {
  return path.substr(0, path.rfind('/') + 1);
}
inline absl::string_view FileOf(absl::string_view path) { return path.substr(path.rfind('/') + 1); }

// The --watch that matches this socket and similar ones: "/run/qemu:*.qmp" for /run/qemu/web1.qmp,
// and "/run/vms/*:qmp.sock" for /run/vms/web1/qmp.sock of the VM web1. vmeventd may refuse it
// (MayPropose). `of_many`: another QEMU has a monitor with the same file name.
WatchSpec SpecOfSocket(absl::string_view path, absl::string_view name, bool of_many);

// Returns whether the file's name shows that a socket is made for programs that follow the VM.
bool IsForFollowers(absl::string_view path);

// Returns whether vmeventd starts with this --watch in its file, and takes no manager's monitor.
bool MayPropose(const WatchSpec& watch);

}  // namespace vmeventd::client
