#include "tests/support/guest.h"

#include <filesystem>
#include <fstream>
#include <utility>

#include "tests/support/wait.h"

namespace vmeventd::e2e {
namespace {

std::string RandomUuid() {
  std::ifstream source("/proc/sys/kernel/random/uuid");
  std::string uuid;
  source >> uuid;
  return uuid;
}

}  // namespace

std::vector<std::string> QemuCommand(Boot boot, const std::string& kernel_arguments) {
  std::vector<std::string> command = {"qemu-system-x86_64", "-accel",   "tcg", "-nodefaults",
                                      "-no-user-config",    "-display", "none"};
  if (boot == Boot::kNothing) {
    command.insert(command.end(), {"-machine", "none"});
    return command;
  }
  const std::string guest_dir = VMEVENTD_GUEST_DIR;
  const std::string kernel = boot == Boot::kLinux ? "/vmlinux" : "/vmlinuz";
  command.insert(command.end(), {"-machine", "pc", "-m", "192", "-kernel", guest_dir + kernel,
                                 "-initrd", guest_dir + "/initrd", "-append",
                                 std::string(kGuestKernelArguments) + " " + kernel_arguments});
  return command;
}

std::string BootSector(const std::vector<unsigned char>& program) {
  std::string sector(program.begin(), program.end());
  sector.resize(510);
  return sector + "\x55\xaa";
}

Guest::Guest(GuestOptions options) : options_(std::move(options)), uuid_(RandomUuid()) {
  const std::string control_path = options_.directory + "/" + name() + ".control";
  // A QEMU that ran under this name may have left its socket behind.
  std::filesystem::remove(control_path);
  ChildOptions child;
  child.arguments = QemuCommand(options_.boot, options_.kernel_arguments);
  child.arguments.front() = options_.program;
  const std::string socket_options = ",server=on,wait=off";
  child.arguments.insert(
      child.arguments.end(),
      {"-name", name(), "-uuid", uuid_, "-serial", "stdio", "-qmp",
       "unix:" + socket_path() + socket_options, "-qmp", "unix:" + control_path + socket_options});
  child.arguments.insert(child.arguments.end(), options_.arguments.begin(),
                         options_.arguments.end());
  process_ = std::make_unique<ChildProcess>(child);
  manager_ = std::make_unique<QmpClient>(control_path);
  if (options_.boot != Boot::kNothing && options_.wait_until_ready) WaitReady();
}

}  // namespace vmeventd::e2e
