#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/runs/named_monitors.h"

// Finds QEMUs that share a path, and sockets that are named after another VM: managers copy a VM's
// extra arguments when they clone it, so the clone binds the original's path. Pure.

namespace vmeventd {

// A followed VM that lives. The texts outlive this.
struct FollowedVm {
  absl::string_view name;  // from its path; raw bytes
  absl::string_view path;  // where it was first seen, as text
  int64_t pid = 0;         // 0: not visible
  InodeKey socket;         // the socket that it was attached by
  bool at_path = true;     // its path leads to it, and not to another one
};

struct PathConflicts {
  // Problem of each VM, for people; empty: none.
  std::vector<std::string> of_vms;
  // Running QEMUs that cannot be followed, as their path leads to another one.
  struct Hidden {
    size_t holder;  // the VM that has the path
    int64_t pid;
    std::string name;     // UTF-8
    std::string problem;  // for people
  };
  std::vector<Hidden> hidden;
};

// `qemus` are the visible QEMUs of the node. A name alone proves little: a manager may name sockets
// as it likes. So a socket counts as named after another VM only if a running QEMU has that name or
// id and the socket's own QEMU has another; or if the socket's name and its QEMU's -id are both
// numbers, as in Proxmox VE, and differ.
PathConflicts FindPathConflicts(const std::vector<FollowedVm>& vms,
                                const std::vector<NamedMonitors::Qemu>& qemus);

}  // namespace vmeventd
