#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// Recognizes QEMUs by the program of a process. Pure.

namespace vmeventd {

// Returns whether `name`, of a program's file or of a process, is that of a QEMU that runs VMs.
bool IsQemuProgram(absl::string_view name);

// Returns the arguments of a process. If its program is QEMU, they begin with QEMU's name: QEMU may
// have been started under another name (`exec -a`), or by the loader of an AppImage. `file` is the
// target of its /proc/PID/exe, or empty; `name` is its /proc/PID/comm.
std::vector<std::string> WithProgram(std::vector<std::string> arguments, absl::string_view file,
                                     absl::string_view name);

// Returns whether the command line is of a QEMU that runs a VM.
bool IsQemu(const std::vector<std::string>& arguments);

}  // namespace vmeventd
