#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/child_process.h"
#include "tests/support/qemu_command.h"
#include "tests/support/qmp_client.h"

namespace vmeventd::e2e {

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

}  // namespace vmeventd::e2e
