#pragma once

#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace vmeventd {

// Decides when a QEMU may be asked something. Before version 8.0 it may hang for ever in its exit
// over commands that come close to each other, whichever clients send them
// (docs/internals/qemu.md). So one command is out at a time; none is sent within kQuietTime of the
// greeting, of an answer, or of an event that another client's command may have caused; and none
// after a SHUTDOWN, until a RESET or a RESUME shows that the VM lives on. One for each connection.
// Pure; times are monotonic.
class CommandPacer {
 public:
  static constexpr absl::Duration kQuietTime = absl::Milliseconds(10);

  // Another client may have had the monitor until now, and may have ended QEMU with its last
  // command.
  void OnGreeting(absl::Duration now) { quiet_until_ = now + kQuietTime; }
  void OnSent() { outstanding_ = true; }
  // Returns false if nothing was asked.
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
  // Resumes where another pacer stopped. `outstanding`: an answer is due. `ending`: a SHUTDOWN
  // stands.
  void Resume(bool outstanding, bool ending, absl::Duration now) {
    outstanding_ = outstanding;
    ending_ = ending;
    quiet_until_ = now + kQuietTime;
  }
  bool outstanding() const { return outstanding_; }
  // A SHUTDOWN stands.
  bool ending() const { return ending_; }

 private:
  absl::Duration quiet_until_ = absl::ZeroDuration();
  bool outstanding_ = false;
  bool ending_ = false;
};

}  // namespace vmeventd
