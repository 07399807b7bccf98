#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace vmeventd {

// Age of a QEMU from which its guest may obey a press of the power button.
inline constexpr absl::Duration kGuestObeys = absl::Seconds(3);

// The connection of a run to QEMU's monitor, or to the manager that has it: attached, closed, lost,
// or not attached since the daemon's restart. It shows from when a closed one counts as lost, what
// nobody may have listened to, and whether QEMU may live on after it. Only whether it is lost is
// saved (RunState::monitor_lost). Pure; times are on the monotonic clock unless they are Instants.
class MonitorLink {
 public:
  enum class State {
    kNone,    // no greeting yet
    kReady,   // connected, and it answers
    kClosed,  // just ended: a dying QEMU closes it a moment before its process goes
    kLost,    // ended while the process lives on, which was reported
    kUnseen,  // not attached since the daemon's restart
  };
  // Time after which a closed monitor counts as lost: a QEMU that ends closes it some time
  // before its process is gone.
  static constexpr absl::Duration kLostGrace = absl::Seconds(1);
  // Replaces kLostGrace when the class of the end is already known: QEMU may then be freeing a
  // large memory.
  static constexpr absl::Duration kLostGraceOfAnEnd = absl::Seconds(5);
  // Time that a restarted daemon has to reconnect to the monitors of the previous daemon.
  static constexpr absl::Duration kAwayGrace = absl::Seconds(10);
  // Time in which a resumed run handles the events that its QEMU sent during the restart.
  static constexpr absl::Duration kCatchUp = absl::Seconds(1);

  // The link of a new run.
  explicit MonitorLink(Instant now) : closed_at_(now) {}
  // The link of a restored run, which is not attached.
  static MonitorLink Restored(bool lost, Instant now);

  State state() const { return state_; }
  bool ready() const { return state_ == State::kReady; }
  bool closed() const { return state_ == State::kClosed; }
  bool lost() const { return state_ == State::kLost; }
  // Returns whether it was restored and not attached since.
  bool unattached_since_restore() const { return restored_; }
  // Returns whether QEMU has answered all first questions, the agent's included, and answers now.
  bool answered_all() const { return answered_all_ && ready(); }
  // Time of the connection's end, or of the daemon's restart if it was not attached since.
  Instant closed_at() const { return closed_at_; }
  const std::string& close_reason() const { return close_reason_; }
  // Returns whether it closed in its first handshake and was not attached since.
  bool closed_in_first_handshake() const { return closed_in_first_handshake_; }

  // Call it when the connection has sent something. Returns whether nobody listened before that.
  bool TakeInput();
  // Call it when a SHUTDOWN came.
  void OnShutdown() { down_in_handshake_ = !ready(); }
  // Returns whether a SHUTDOWN came before this connection's handshake was over; then false until
  // the next one.
  bool TakeDownInHandshake();
  // Call it when the handshake is complete. Returns the state before.
  State Attach();
  // Call it if the previous daemon's connection continues. `answered_all`: as answered_all() was
  // there.
  void TakeOver(bool answered_all, absl::Duration now);
  // Call it when QEMU has answered all first questions. Returns whether it had not before.
  bool TakeAllAnswers();
  // Call it when the connection ended. A connection that ends in the first handshake is lost at
  // once.
  void Close(absl::string_view why, Instant now);
  // Records that the loss is reported.
  void Lose() { state_ = State::kLost; }
  // Call it if QEMU may live on although its monitor has closed: it accepts a connection again,
  // serves another client there, or vmeventd has no descriptor to ask it.
  void MarkMaybeAlive() { maybe_alive_ = closed(); }

  // Time from which it counts as lost; InfiniteDuration: never. `decided`: the class of the end is
  // known.
  absl::Duration LostAt(bool decided) const;
  // Returns whether it was lost so long ago that a missing SHUTDOWN is no evidence.
  bool WasLost(absl::Duration now) const {
    return lost() && now >= closed_at_.monotonic + kLostGrace;
  }
  // Returns whether somebody has listened to QEMU until now. `new_qemu`: its guest cannot have
  // obeyed anything yet (kGuestObeys).
  bool MissedNothing(bool new_qemu) const {
    return ready() || (state_ == State::kNone && new_qemu);
  }
  // Returns whether MarkMaybeAlive() was called since it closed.
  bool maybe_alive() const { return closed() && maybe_alive_; }
  // Returns whether the end of a process that is not followed shows in this connection now.
  bool ShowsEnd(bool has_manager, absl::Duration now) const;

  // Returns whether input may have waited for this daemon.
  bool IsCatchingUp(absl::Duration now) const { return resumed_ && now < resumed_at_ + kCatchUp; }
  // Time at which QEMU sent an event: `now`, except for input that waited for this daemon, which
  // began at `daemon_start`. `qemu_time`: as QEMU reports it.
  Instant SentAt(std::optional<absl::Time> qemu_time, absl::Time daemon_start, Instant now) const;

 private:
  State state_ = State::kNone;
  Instant closed_at_;
  std::string close_reason_;
  absl::Duration resumed_at_;  // with resumed_
  bool restored_ = false;      // and not attached since
  bool resumed_ = false;       // continues on the connection of the previous daemon
  bool answered_all_ = false;
  bool listens_ = false;  // to a connection that has sent something, or was handed over
  bool down_in_handshake_ = false;
  bool closed_in_first_handshake_ = false;
  bool maybe_alive_ = false;
};

}  // namespace vmeventd
