#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/runs/command_lines.h"

// Managers copy a VM's extra arguments when they clone it, so the clone binds the original's path.
// Finds QEMUs that share a path, and sockets that are named after another VM. Pure.

namespace vmeventd {

// A VM that is followed, and lives. The views outlive it.
struct FollowedVm {
  absl::string_view name;  // by its path, raw
  absl::string_view path;  // of its first sight, as text
  int64_t pid = 0;         // 0: not visible
  InodeKey socket;         // that it was attached by
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

// `qemus` are the QEMUs of the node, as far as they can be seen. A name alone proves little: a
// manager may call sockets as it likes. So a socket is named after another VM only where a running
// QEMU has that name or id and this one has another, or where both it and its QEMU's -id are
// numbers, as Proxmox VE's, and differ.
PathConflicts FindPathConflicts(const std::vector<FollowedVm>& vms,
                                const std::vector<CommandLines::Monitors::Qemu>& qemus);

}  // namespace vmeventd
