#pragma once

#include <termios.h>

#include <cstddef>
#include <cstdio>
#include <string>

#include "absl/status/status.h"
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

// What SIGINT, SIGTERM and SIGHUP stop, a reader of `output` that goes away, even while nothing is
// written, and a q that is read from `keys`; each may be -1. A second signal ends the process at
// once.
//
// Call it once, before any other thread: it blocks the signals for later threads. It runs one
// thread of its own until the process ends.
StopSource& StopBySignals(int output, int keys = -1);

// The terminal of standard input and output while a command draws whole frames on it: the alternate
// screen without a cursor, and keys that are read without Enter.
class LiveScreen {
 public:
  LiveScreen();
  // Leaves the terminal as it was.
  ~LiveScreen();
  LiveScreen(const LiveScreen&) = delete;
  LiveScreen& operator=(const LiveScreen&) = delete;

 private:
  termios before_{};
  bool changed_ = false;  // the mode was
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
