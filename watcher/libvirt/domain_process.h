#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/unix_address.h"
#include "watcher/core/specs.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"

namespace vmeventd {

// Returns the directory of pid files of the libvirt that serves `socket` (empty: where libvirt
// itself looks).
std::string PidDirectory(const LibvirtSpec& spec, const std::string& socket);

// The PID namespace of the process that serves the Unix socket `address`, if that is not this
// process's own: of a libvirt in a container. 0: it is not visible from here. Unset: this process's
// own, or the socket cannot be connected to. Never waits.
std::optional<uint64_t> ForeignPidNamespaceBehind(const UnixAddress& address);

// The process of a running domain, at the time of a look.
struct DomainProcess {
  PeerProcess process;         // kUntracked: there is none, or it is not visible
  bool visible = false;        // a QEMU of the domain would be found, if there was one
  bool no_descriptor = false;  // the look took more descriptors than there are
};

// The place of the processes of one libvirt's domains.
struct ProcessPlace {
  std::string pid_directory;                  // has the pid files NAME.pid
  bool containers = false;                    // the domains' ids are the numbers of their processes
  std::optional<uint64_t> foreign_namespace;  // as from ForeignPidNamespaceBehind
};

// Finds the processes of `domains`, in their order. A number that libvirt has given is believed if
// that process was started with the domain's UUID, or is the libvirt_lxc of the container. A QEMU
// that no such number leads to is looked for by its UUID among all processes of the namespace:
// libvirt escapes some characters of NAME in the pid file's name, and a pod has PIDs of its own. A
// process whose command line does not come within 100 ms is left out, and holds a thread of
// `command_lines`, which are of this libvirt alone. Blocks for some milliseconds, or for 100 ms.
std::vector<DomainProcess> FindProcesses(const ProcessPlace& place,
                                         const std::vector<DomainName>& domains,
                                         CommandLines* command_lines);

}  // namespace vmeventd
