#pragma once

#include <optional>
#include <string>
#include <vector>

#include "watcher/core/qemu_traits.h"

// The command line of a QEMU. Pure.

namespace vmeventd {

// A QMP monitor of a QEMU that listens on a Unix socket: at a path, or as a descriptor that QEMU
// inherited.
struct QmpMonitor {
  std::string path;     // as given; empty with a descriptor
  int descriptor = -1;  // number in the QEMU; -1 with a path
};

struct QemuArguments {
  std::string name;  // the name in -name; may be empty
  std::string id;    // the value of -id, by which Proxmox VE gives the VMID; may be empty
  std::vector<QmpMonitor> monitors;  // in the order of the command line
  // QEMU's answers to query-name and query-uuid, where its command line proves them: it has a QMP
  // monitor, no -readconfig, and the option only once. Unset: only QEMU knows.
  std::optional<std::string> certain_name;
  std::optional<std::string> certain_uuid;  // in lower case; empty: the VM has none
  bool incoming = false;                    // it has -incoming: its VM comes from elsewhere
  QemuTraits traits;
};

// Returns `uuid`, or "" for the null UUID, with which QEMU reports that the VM has none.
std::string WithoutNullUuid(std::string uuid);

// Returns the argument of the first -uuid, as written; empty: there is none.
std::string GivenUuid(const std::vector<std::string>& arguments);

// Reads the command line of a QEMU.
QemuArguments ParseQemuArguments(const std::vector<std::string>& arguments);

}  // namespace vmeventd
