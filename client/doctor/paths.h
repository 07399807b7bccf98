#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "client/doctor/node_facts.h"
#include "watcher/core/managers.h"
#include "watcher/core/specs.h"

// Paths of monitors, and the processes that have them.

namespace vmeventd::client {

// With its slash.
inline absl::string_view DirectoryOf(absl::string_view path) {
  return path.substr(0, path.rfind('/') + 1);
}
inline absl::string_view FileOf(absl::string_view path) { return path.substr(path.rfind('/') + 1); }

// The --watch that takes the one socket and its like: "/run/qemu:*.qmp" for /run/qemu/web1.qmp, and
// "/run/vms/*:qmp.sock" for /run/vms/web1/qmp.sock of the VM web1. `of_many`: another QEMU has a
// monitor of the same file name.
WatchSpec SpecOfSocket(absl::string_view path, absl::string_view name, bool of_many);

// Returns whether a socket is made for programs that follow the VM, judged by its name.
bool IsForFollowers(absl::string_view path);

// Returns whether a descriptor of the process is this socket.
bool Has(const NodeProcess& process, uint32_t inode);

// "qemu-system-x86 (pid 42)".
std::string DescribeProcess(const NodeProcess& process);

inline bool IsDaemon(const NodeProcess* process) {
  return process != nullptr && process->program == kDaemonProgram;
}
inline bool IsLibvirt(const Manager& manager) {
  return manager.id == ManagerId::kLibvirt || manager.id == ManagerId::kLibvirtSession;
}

}  // namespace vmeventd::client
