#pragma once

#include <termios.h>

#include <cstddef>
#include <cstdio>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/system.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/options/options.h"

// The terminal: its colours, pager, screen and signals, and sentences on standard error.

namespace vmeventd::client {

// Returns whether standard output gets colours.
bool HasColor(const CommandLine& line);

// Prints "vmevents: SENTENCE". It must be safe for a terminal. Any thread.
void PrintNote(const std::string& sentence);
// Prints why the command failed; what it ends with.
ExitCode Fail(const Failure& failure);
ExitCode Fail(const absl::Status& status);

// Lets SIGINT, SIGTERM and SIGHUP stop `stop` while it exists, and so does a reader of standard
// output that goes away, even while nothing is written. A second signal ends the process at once.
//
// Create it before any other thread: it blocks the signals for later threads. It runs one thread of
// its own.
class StopSignals {
 public:
  // `stop` and `output_descriptor` must outlive it.
  static absl::StatusOr<std::unique_ptr<StopSignals>> Create(StopSource* stop,
                                                             int output_descriptor);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  StopSignals(UniqueFd signals, UniqueFd done, int output, StopSource* stop);
  void Wait(StopSource* stop) const;

  const UniqueFd signals_;  // a signalfd
  const UniqueFd done_;     // an eventfd: written by the destructor to end the thread
  const int output_;
  std::jthread thread_;
};

// The terminal while a command draws whole frames on it: the alternate screen without a cursor, and
// keys that count without Enter. One thread.
class LiveScreen {
 public:
  LiveScreen(int input, int output);
  // Leaves the terminal as it was.
  ~LiveScreen();
  LiveScreen(const LiveScreen&) = delete;
  LiveScreen& operator=(const LiveScreen&) = delete;

  // Takes the terminal. A second call does nothing.
  void Enter();
  // Waits for `duration`. True: q was typed, or it was stopped. Without a terminal at `input` there
  // are no keys.
  bool Wait(absl::Duration duration, const std::stop_token& stop);

 private:
  int input_;
  const int output_;
  const UniqueFd stopped_;  // an eventfd
  bool entered_ = false;
  std::optional<termios> before_;
};

// Size of the terminal at `descriptor`; 0: it is none, or has no size.
struct TerminalSize {
  size_t columns = 0;
  size_t rows = 0;
};
TerminalSize SizeOfTerminal(int descriptor);

// Starts $VMEVENTS_PAGER if it is set, else $PAGER, else less where there is one, and a shell
// before it. Its input is closed and it is waited for by pclose(), which returns 126 or 127 as the
// exit status if nothing was shown. SIGINT is ignored here from then on. Null: it could not be
// started.
FILE* StartPager();

}  // namespace vmeventd::client
