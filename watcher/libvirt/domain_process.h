#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/unix_address.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/peer_process.h"

namespace vmeventd {

// Returns the directory of pid files of the libvirt that serves `socket` (empty: libvirt's
// default).
std::string PidDirectory(const LibvirtSpec& spec, const std::string& socket);

// Returns the PID namespace of the process that serves the Unix socket `address`, if it differs
// from this process's own (as for a libvirt in a container). 0: it is not visible from here. Unset:
// it is this process's own, or the socket cannot be connected to. Does not block.
std::optional<uint64_t> ForeignPidNamespaceBehind(const UnixAddress& address);

// The process of a running domain, at the time of a look.
struct DomainProcess {
  PeerProcess process;         // kUntracked: there is none, or it is not visible
  bool visible = false;        // if the domain had a QEMU, it would be found
  bool no_descriptor = false;  // no descriptor was left for the look
};

// Where to find the processes of one libvirt's domains.
struct ProcessPlace {
  std::string pid_directory;                  // contains the pid files NAME.pid
  bool containers = false;                    // each domain's id is the pid of its process
  std::optional<uint64_t> foreign_namespace;  // result of ForeignPidNamespaceBehind()
};

// Finds the processes of `domains`, in the same order. A pid that libvirt gave counts only if that
// process was started with the domain's UUID, or is the libvirt_lxc of the container. A QEMU
// without such a pid is looked for by its UUID among all processes of the namespace: libvirt
// escapes some characters of NAME in the pid file's name, and a pod has its own PIDs. A process
// whose command line is not read within 100 ms is not found, and occupies a thread of
// `command_lines`, which serve only this libvirt. Blocks for some milliseconds, at most 100 ms for
// each 256 processes at which it looks.
std::vector<DomainProcess> FindProcesses(const ProcessPlace& place,
                                         const std::vector<DomainName>& domains,
                                         CommandLines* command_lines);

}  // namespace vmeventd
