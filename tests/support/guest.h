#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "nlohmann/json.hpp"
#include "tests/support/child_process.h"

namespace vmeventd::e2e {

// The manager's side of a QMP monitor, like Ganeti or libvirt.
class QmpClient {
 public:
  // Waits for the socket and the greeting, and leaves negotiation mode.
  explicit QmpClient(const std::string& path);

  // Returns the command's "return" member. An error reply throws.
  nlohmann::json Execute(const std::string& command,
                         const nlohmann::json& arguments = nlohmann::json::object());
  // Waits for the next event of that name that no earlier call has returned.
  nlohmann::json WaitEvent(const std::string& name);

 private:
  nlohmann::json ReadMessage();

  const std::string path_;
  UniqueFd socket_;
  std::string unread_;
  std::vector<nlohmann::json> events_;
};

enum class Boot {
  kLinux,          // the test guest: a shell on the serial line
  kLinuxFromBios,  // kLinux, slower, and able to wake up from suspend to RAM
  kNothing,        // a machine without memory and processor: a cheap QEMU
};

// The kernel leaves out what takes a fifth of the boot and no test needs.
inline constexpr char kGuestKernelArguments[] =
    "console=ttyS0 quiet nokaslr mitigations=off no_timer_check rodata=off cryptomgr.notests "
    "initcall_blacklist=load_system_certificate_list,init_kprobe_trace";

struct GuestOptions {
  std::string name = "vm1";
  std::string directory;  // the directory of NAME.kvmd, the followed monitor
  Boot boot = Boot::kLinux;
  std::string program = "qemu-system-x86_64";
  std::vector<std::string> arguments;  // QEMU's, in addition
  // QEMU's arguments for the followed monitor, where PATH stands for its socket's.
  std::vector<std::string> monitor = {"-qmp", "unix:PATH,server=on,wait=off"};
  std::string kernel_arguments;  // "ignore_powerdown", "panic=-1"
  bool wait_until_ready = true;  // waits for the guest's shell
};

// A real QEMU under TCG. It has the monitor that vmeventd follows, and another one for the test,
// which acts as the manager.
class Guest {
 public:
  explicit Guest(GuestOptions options);

  const std::string& name() const { return options_.name; }
  const std::string& uuid() const { return uuid_; }
  pid_t pid() const { return process_->pid(); }
  std::string socket_path() const { return options_.directory + "/" + name() + ".kvmd"; }
  std::string shutdown_file() const { return options_.directory + "/" + name() + ".shutdown"; }

  QmpClient& manager() { return *manager_; }
  // Runs a command line in the guest's shell.
  void Type(const std::string& command) { process_->Write(command + "\n"); }
  // Waits until the guest has booted; call it again after a reset.
  void WaitReady() { process_->ReadUntil("GUEST-READY"); }
  void WaitOutput(const std::string& text) { process_->ReadUntil(text); }
  void Signal(int signal) { process_->Signal(signal); }
  bool has_exited() { return process_->has_exited(); }
  // Waits until QEMU ends, and returns the wait status.
  int WaitExit() { return process_->Wait(); }

 private:
  const GuestOptions options_;
  const std::string uuid_;
  std::unique_ptr<ChildProcess> process_;
  std::unique_ptr<QmpClient> manager_;
};

// The command line of such a QEMU, without monitors, serial line and uuid.
std::vector<std::string> QemuCommand(Boot boot, const std::string& kernel_arguments);

// Contents of a disk that boots into a program for an 8086, instead of an operating system.
std::string BootSector(const std::vector<unsigned char>& program);

}  // namespace vmeventd::e2e
