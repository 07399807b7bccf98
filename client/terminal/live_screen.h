#ifndef VMEVENTD_CLIENT_TERMINAL_LIVE_SCREEN_H_
#define VMEVENTD_CLIENT_TERMINAL_LIVE_SCREEN_H_

#include <termios.h>

#include <memory>
#include <optional>
#include <stop_token>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace vmeventd::client {

// The terminal while a command draws whole frames on it: the alternate screen without a cursor, and
// keys that count without Enter. One thread.
class LiveScreen {
 public:
  // What ended a wait, besides a key.
  static constexpr int kDue = 0;
  static constexpr int kResized = -1;
  static constexpr int kStopped = -2;

  // Blocks SIGWINCH, so call it before any thread starts. RESOURCE_EXHAUSTED: no descriptor.
  static absl::StatusOr<std::unique_ptr<LiveScreen>> Create(int input, int output);
  // Leaves the terminal as it was.
  ~LiveScreen();
  LiveScreen(const LiveScreen&) = delete;
  LiveScreen& operator=(const LiveScreen&) = delete;

  // Takes the terminal. A second call does nothing.
  void Enter();
  // Waits until a key is typed, which it returns, or for another cause. Without a terminal at
  // `input` there are no keys.
  int Wait(absl::Duration duration, const std::stop_token& stop);

 private:
  LiveScreen(int input, int output, UniqueFd resized, UniqueFd stopped);

  int input_;
  const int output_;
  const UniqueFd resized_;  // a signalfd
  const UniqueFd stopped_;  // an eventfd
  bool entered_ = false;
  std::optional<termios> before_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_TERMINAL_LIVE_SCREEN_H_
