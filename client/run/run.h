#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/commands/web.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/options/command_line.h"
#include "client/options/options.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sinks/follow_command.h"
#include "client/sinks/push_command.h"

// Runs the commands.

namespace vmeventd::client {

// Prints "vmevents: SENTENCE". It must be safe for a terminal. Any thread.
void PrintNote(const std::string& sentence);
// Prints why the command failed; what it ends with.
ExitCode Fail(const Failure& failure);
ExitCode Fail(const absl::Status& status);

// Stop by SIGINT, SIGTERM or SIGHUP, by a reader of `output` that goes away, even while nothing is
// written, or by a q that is read from `keys`; each may be -1. A second signal ends the process at
// once.
//
// Call it once, before any other thread: it blocks the signals for later threads. It runs one
// thread of its own until the process ends.
StopSource& StopBySignals(int output, int keys = -1);

// Starts $VMEVENTS_PAGER if it is set, else $PAGER, else less where there is one, and a shell
// before it. Its input is closed and it is waited for by pclose(), which returns 126 or 127 as the
// exit status if nothing was shown. SIGINT is ignored here from then on. Null: it could not be
// started.
FILE* StartPager();

// `watch` and `events --follow`, of one server, of several or of a fleet: until a signal, `--count`
// or a failure ends it. Blocks the signals that end it, so call it before any thread starts.
ExitCode RunFollow(FollowCommand command, const CommandLine& line, Formatter* formatter);

// `push`, until a signal, the receiver (410) or a failure that cannot be retried ends it; or its
// `--status`. Blocks the signals that end it, so call it before any thread starts.
ExitCode RunPush(const PushCommand& command, const CommandLine& line, Output* output);

// `proxy`: copies standard input to vmeventd's Unix socket and its answers to standard output,
// until one of them ends.
ExitCode RunProxy(const CommandLine& line);

// `web`, until a signal ends it, which it blocks: call it before any thread starts.
ExitCode RunWeb(const WebCommand& command, const CommandLine& line);

// The whole program behind main(): parses the arguments, runs the command, prints to standard
// output and error. The caller must ignore SIGPIPE, and call this before any thread starts, because
// `watch` blocks the signals that end it.
ExitCode Run(const std::vector<std::string>& arguments, const OptionContext& context);

}  // namespace vmeventd::client
