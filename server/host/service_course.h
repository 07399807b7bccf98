#pragma once

#include "absl/time/time.h"
#include "server/host/pulse.h"
#include "server/host/watchdog.h"

namespace vmeventd {

// Decides what the main thread does while the daemon serves: when the service manager is notified
// that the daemon is ready and alive, when serving begins, and when the watcher counts as silent.
// The caller carries out what Turn() returns, in the order of the members; the object itself only
// logs which threads do not respond. Times are monotonic. One thread, unless stated otherwise.
class ServiceCourse {
 public:
  // How often the watcher is asked whether it still does its turns.
  static constexpr absl::Duration kAskInterval = absl::Seconds(1);
  // Time from the first scan until freed memory goes back to the kernel: attaching to thousands of
  // VMs leaves as much of it behind as they need themselves.
  static constexpr absl::Duration kSettleTime = absl::Seconds(10);

  // What is due.
  struct Actions {
    bool begin_serving = false;  // the first scan is done
    bool notify_ready = false;
    bool watcher_fell_silent = false;
    bool watcher_responds_again = false;
    bool wake_watcher = false;  // it then answers
    bool trim_memory = false;
    // Also wake each thread that the watchdog covers: it then answers.
    bool notify_alive = false;
  };

  // `watchdog_limit` is the manager's; infinite: there is no watchdog.
  explicit ServiceCourse(absl::Duration watchdog_limit) : watchdog_(watchdog_limit) {}

  // Decides a turn; the first one is due at once. `scanned`: the watcher's first scan is done.
  Actions Turn(absl::Duration now, bool scanned);
  // Returns the time from the last turn to the next one, which is due earlier once the first scan
  // is done and serving() is false.
  absl::Duration TimeToTurn() const;
  // Serving has begun.
  bool serving() const { return serving_; }

  // Record that a thread has done a turn. Any thread.
  void OnWatcherTurn();
  void OnPumpTurn() { watchdog_.Answer(Watchdog::kPump); }
  void OnAcceptorTurn() { watchdog_.Answer(Watchdog::kAcceptor); }

 private:
  // Asks the watcher whether it responds.
  void AskWatcher(Actions* actions);
  // Returns whether the manager is to be notified that the daemon is alive.
  bool IsAlive();

  absl::Duration now_;                                  // of the last turn
  absl::Duration ready_by_ = absl::InfiniteDuration();  // ready, even if the scan is not done
  absl::Duration ask_at_ = -absl::InfiniteDuration();
  absl::Duration trim_at_ = absl::InfiniteDuration();
  bool ready_ = false;  // the manager was notified
  bool serving_ = false;
  bool silent_ = false;  // the watcher is
  Watchdog watchdog_;
  Pulse pulse_;  // the watcher's
};

}  // namespace vmeventd
