#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "client/doctor/node_facts.h"
#include "watcher/core/managers.h"
#include "watcher/core/watch_spec.h"

// Helpers for paths of monitors, and for the processes that own the sockets.

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

// Returns whether the process has a descriptor of this socket.
bool HasSocket(const NodeProcess& process, uint32_t inode);

// "qemu-system-x86 (pid 42)".
std::string DescribeProcess(const NodeProcess& process);

inline bool IsDaemon(const NodeProcess* process) { return process != nullptr && process->daemon; }
inline bool IsLibvirt(const Manager& manager) {
  return manager.id == ManagerId::kLibvirt || manager.id == ManagerId::kLibvirtSession;
}

}  // namespace vmeventd::client
