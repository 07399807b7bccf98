#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "nlohmann/json.hpp"
#include "tests/support/child_process.h"

namespace vmeventd::e2e {

// A client of a QMP monitor that acts like a manager, such as Ganeti or libvirt.
class QmpClient {
 public:
  // Waits for the socket and the greeting, and leaves the negotiation mode.
  explicit QmpClient(const std::string& path);

  // Returns the command's "return" member. An error reply throws.
  nlohmann::json Execute(const std::string& command,
                         const nlohmann::json& arguments = nlohmann::json::object());
  // Waits for the next event with this name that no earlier call has returned.
  nlohmann::json WaitEvent(const std::string& name);

 private:
  nlohmann::json ReadMessage();

  const std::string path_;
  UniqueFd socket_;
  std::string unread_;
  std::vector<nlohmann::json> events_;
};

enum class Boot {
  kSector,         // a boot sector that obeys the power button and the methods of Guest
  kLinux,          // a kernel with a shell on the serial line; takes ten times as long
  kLinuxFromBios,  // like kLinux, but slower, and able to wake up from suspend to RAM
  kNothing,        // a machine without memory and processor, for a cheap QEMU
};

// The kernel skips initializations that no test needs; they take a fifth of the boot time.
inline constexpr char kGuestKernelArguments[] =
    "console=ttyS0 quiet nokaslr mitigations=off no_timer_check rodata=off cryptomgr.notests "
    "initcall_blacklist=load_system_certificate_list,init_kprobe_trace";

struct GuestOptions {
  std::string name = "vm1";
  std::string uuid;       // empty: each guest gets its own UUID
  std::string directory;  // directory of NAME.kvmd, the monitor that vmeventd follows
  Boot boot = Boot::kSector;
  std::string program = "qemu-system-x86_64";
  std::vector<std::string> arguments;  // additional arguments of QEMU
  // QEMU's arguments for the followed monitor. PATH stands for the path of its socket.
  std::vector<std::string> monitor = {"-qmp", "unix:PATH,server=on,wait=off"};
  bool obeys_power_button = true;
  bool reboots_after_panic = false;  // otherwise it hangs
  bool wait_until_ready = true;      // the constructor waits until the guest has booted
};

// A real QEMU with TCG. It has a monitor that vmeventd follows, and another one for the test, which
// acts as the manager.
class Guest {
 public:
  explicit Guest(GuestOptions options);

  const std::string& name() const { return options_.name; }
  const std::string& uuid() const { return uuid_; }
  pid_t pid() const { return process_->pid(); }
  std::string socket_path() const { return options_.directory + "/" + name() + ".kvmd"; }
  std::string shutdown_file() const { return options_.directory + "/" + name() + ".shutdown"; }

  QmpClient& manager() { return *manager_; }
  // Runs a command line in the shell of a guest that runs Linux.
  void Type(const std::string& command) { process_->Write(command + "\n"); }
  // Actions of the guest itself. Panic() is reported only to a pvpanic device.
  void PowerOff() { Do('o', "poweroff -f"); }
  void Reboot() { Do('r', "reboot -f"); }
  void Hibernate() { Do('h', "outw 0x604 0x2800"); }  // S4 to PM1a_CNT of the machine pc
  void Suspend() { Do('s', "echo mem > /sys/power/state"); }
  void Panic() { Do('p', "echo c > /proc/sysrq-trigger"); }
  // Lets the watchdog, a WatchdogDevice(), expire.
  void StarveWatchdog() { Do('w', "(watchdog -T 2 -t 100 -F /dev/watchdog &)"); }
  static std::string WatchdogDevice(Boot boot) {
    return boot == Boot::kSector ? "ib700" : "i6300esb";
  }
  // Waits until the guest has booted; call it again after a reset.
  void WaitReady() { process_->ReadUntil("GUEST-READY"); }
  void WaitOutput(const std::string& text) { process_->ReadUntil(text); }
  void Signal(int signal) { process_->Signal(signal); }
  // Waits until QEMU ends, and returns the wait status.
  int WaitExit() { return process_->Wait(); }

 private:
  void Do(char sector, const std::string& linux_shell) {
    process_->Write(options_.boot == Boot::kSector ? std::string(1, sector) : linux_shell + "\n");
  }

  const GuestOptions options_;
  const std::string uuid_;
  std::unique_ptr<ChildProcess> process_;
  std::unique_ptr<QmpClient> manager_;
};

// The command line of a QEMU with this boot method, without monitors, serial line and UUID, and for
// kSector without its disk.
std::vector<std::string> QemuCommand(Boot boot, const std::string& kernel_arguments = "");

// Contents of a disk that boots an 8086 program instead of an operating system.
std::string BootSector(const std::vector<unsigned char>& program);
// Contents of the disk for Boot::kSector.
std::string GuestSector(bool obeys_power_button, bool reboots_after_panic);

}  // namespace vmeventd::e2e
