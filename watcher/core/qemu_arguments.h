#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace vmeventd {

// A QMP monitor of a QEMU that listens on a Unix socket: at a path, or as a descriptor that QEMU
// inherited.
struct QmpMonitor {
  std::string path;     // as given; empty with a descriptor
  int descriptor = -1;  // number in the QEMU; -1 with a path
};

struct QemuArguments {
  std::string name;  // the name in -name; may be empty
  std::vector<QmpMonitor> monitors;
  // QEMU's answers to query-name and query-uuid, where its command line leaves no doubt: it
  // has a QMP monitor and no -readconfig, and the option once. Unset: only QEMU knows.
  std::optional<std::string> certain_name;
  std::optional<std::string> certain_uuid;  // in lower case; empty: the VM has none
  bool incoming = false;                    // it has -incoming: its VM comes from elsewhere
  bool guest_can_exit = false;  // its guest can end it with a code: isa-debug-exit, semihosting
};

// Returns whether the command line is of a QEMU that runs a VM.
bool IsQemu(const std::vector<std::string>& arguments);

// The arguments in the text of /proc/PID/cmdline.
std::vector<std::string> SplitCommandLine(absl::string_view text);

// `uuid`, or nothing for the one of zeros, by which QEMU reports that the VM has none.
std::string WithoutNullUuid(std::string uuid);

// The argument of the first -uuid, as it stands there; empty: there is none.
std::string GivenUuid(const std::vector<std::string>& arguments);

// Name of the container of a libvirt_lxc; empty: the process is none.
std::string GivenContainer(const std::vector<std::string>& arguments);

// Reads the command line of a QEMU. Pure.
QemuArguments ParseQemuArguments(const std::vector<std::string>& arguments);

}  // namespace vmeventd
