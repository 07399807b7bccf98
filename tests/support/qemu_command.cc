#include "tests/support/qemu_command.h"

namespace vmeventd::e2e {

std::vector<std::string> QemuCommand(Boot boot, const std::string& kernel_arguments) {
  std::vector<std::string> command = {"qemu-system-x86_64", "-accel",   "tcg", "-nodefaults",
                                      "-no-user-config",    "-display", "none"};
  if (boot == Boot::kNothing) {
    command.insert(command.end(), {"-machine", "none"});
    return command;
  }
  if (boot == Boot::kSector) {
    command.insert(command.end(), {"-machine", "pc", "-m", "16"});
    return command;
  }
  const std::string guest_dir = VMEVENTD_GUEST_DIR;
  const std::string kernel = boot == Boot::kLinux ? "/vmlinux" : "/vmlinuz";
  command.insert(command.end(), {"-machine", "pc", "-m", "192", "-kernel", guest_dir + kernel,
                                 "-initrd", guest_dir + "/initrd", "-append",
                                 std::string(kGuestKernelArguments) + " " + kernel_arguments});
  return command;
}

}  // namespace vmeventd::e2e
