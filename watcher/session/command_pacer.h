#pragma once

#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace vmeventd {

// Decides when a command may be sent to a QEMU. A QEMU before 8.0 may hang forever in its exit if
// two commands arrive shortly after each other, even from different clients
// (docs/internals/qemu.md). So at most one command waits for its reply. None is sent within
// kQuietTime after the greeting, a reply, or an event that another client's command may have
// caused. None is sent after a SHUTDOWN until a RESET or a RESUME shows that the VM lives on. One
// object for each connection. Pure; times are monotonic.
class CommandPacer {
 public:
  static constexpr absl::Duration kQuietTime = absl::Milliseconds(10);

  // A new connection: another client may have had the monitor until now, and may have ended QEMU
  // with its last command.
  void OnGreeting(absl::Duration now) { quiet_until_ = now + kQuietTime; }
  void OnSent() { outstanding_ = true; }
  // Returns false if no command was waiting for a reply.
  bool OnReply(absl::Duration now) {
    if (!std::exchange(outstanding_, false)) return false;
    quiet_until_ = now + kQuietTime;
    return true;
  }
  void OnEvent(absl::string_view name, absl::Duration now) {
    if (name == "SHUTDOWN") {
      ending_ = true;
    } else if (name == "RESET" || name == "RESUME") {
      ending_ = false;
    } else if (name == "STOP" || name == "MIGRATION" || name == "VSERPORT_CHANGE") {
      quiet_until_ = now + kQuietTime;
    }
  }

  // Time at which the next command may be sent; InfiniteDuration: not before another of these
  // inputs.
  absl::Duration NextAt() const {
    return outstanding_ || ending_ ? absl::InfiniteDuration() : quiet_until_;
  }
  // Continues the state of another pacer. `outstanding`: a command waits for its reply. `ending`: a
  // SHUTDOWN came, and neither RESET nor RESUME since.
  void Resume(bool outstanding, bool ending, absl::Duration now) {
    outstanding_ = outstanding;
    ending_ = ending;
    quiet_until_ = now + kQuietTime;
  }
  bool outstanding() const { return outstanding_; }
  // Returns whether a SHUTDOWN came, and neither RESET nor RESUME since.
  bool ending() const { return ending_; }

 private:
  absl::Duration quiet_until_ = absl::ZeroDuration();
  bool outstanding_ = false;
  bool ending_ = false;
};

}  // namespace vmeventd
