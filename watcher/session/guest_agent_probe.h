#pragma once

#include <string>
#include <vector>

#include "watcher/core/qmp_message.h"

namespace vmeventd {

// The name of the virtio-serial port on which qemu-guest-agent listens.
inline constexpr char kGuestAgentPort[] = "org.qemu.guest_agent.0";

// QEMU's answer about the guest agent's channel. Text is UTF-8.
struct GuestAgentInfo {
  bool present = false;   // QEMU has such a port
  bool open = false;      // the guest has opened it: an agent runs
  bool reported = false;  // its device has an id, so that VSERPORT_CHANGE comes for it
  std::string port;       // that id
  std::vector<std::string> other_ports;  // the ids of the VM's other virtio-serial ports
};

// Asks a QEMU whether its guest has an agent connected, by commands that only read. Two qom-list
// return the devices; qom-get returns the names of the ports among them and the chardev of the
// agent's port; query-chardev shows whether the guest has opened that (`frontend-open`; QEMU 2.1
// and later). Ports beyond kMaxPorts are ignored. Pure.
class GuestAgentProbe {
 public:
  static constexpr size_t kMaxPorts = 32;

  // The next command, a whole line; empty when all is known.
  std::string NextCommand() const;
  bool done() const { return step_ == Step::kDone; }
  // Takes the reply to NextCommand(). Null: QEMU returned an error; the facts that the command
  // asked for stay unknown.
  void OnReply(const QmpObject& answer);
  // Returns the result. Call it once, at the end.
  GuestAgentInfo Take() { return std::move(info_); }

 private:
  enum class Step { kNamed, kUnnamed, kPortName, kPortChardev, kChardevs, kDone };
  struct Port {
    std::string path;
    std::string id;  // empty: the device has none
  };

  void AddPorts(const QmpObject& children, bool named);
  void NextPort();

  Step step_ = Step::kNamed;
  std::vector<Port> ports_;
  size_t port_ = 0;  // index of the port that is asked about
  std::string chardev_;
  GuestAgentInfo info_;
};

}  // namespace vmeventd
