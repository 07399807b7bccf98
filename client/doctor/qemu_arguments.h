#ifndef VMEVENTD_CLIENT_DOCTOR_QEMU_ARGUMENTS_H_
#define VMEVENTD_CLIENT_DOCTOR_QEMU_ARGUMENTS_H_

#include <string>
#include <vector>

namespace vmeventd::client {

// A QMP monitor of a QEMU that listens on a Unix socket: at a path, or as a descriptor that QEMU
// inherited.
struct QmpMonitor {
  std::string path;     // as given; empty with a descriptor
  int descriptor = -1;  // of the QEMU; -1 with a path
};

struct QemuArguments {
  std::string name;  // of -name; may be empty
  std::vector<QmpMonitor> monitors;
};

// Whether the command line is of a QEMU that runs a VM.
bool IsQemu(const std::vector<std::string>& arguments);

// Reads the command line of a QEMU. Pure.
QemuArguments ParseQemuArguments(const std::vector<std::string>& arguments);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_DOCTOR_QEMU_ARGUMENTS_H_
