#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/commands/web.h"
#include "client/connect/failure.h"
#include "client/connect/stop_source.h"
#include "client/options/command_line.h"
#include "client/options/options.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sinks/follow_command.h"
#include "client/sinks/push_command.h"

// Runs the commands.

namespace vmeventd::client {

// Prints "vmevents: SENTENCE" to standard error. The sentence must be safe for a terminal. Any
// thread.
void PrintNote(const std::string& sentence);
// Prints why the command failed, and returns the exit code.
ExitCode Fail(const Failure& failure);
ExitCode Fail(const absl::Status& status);

// Returns a source that is stopped by SIGINT, SIGTERM or SIGHUP, when the reader of `output` goes
// away (even while nothing is written), or when a q is read from `keys`. Each descriptor may be -1.
// A later signal ends the process at once.
//
// Call it once, before any thread starts: it blocks the signals for later threads. It runs its own
// thread until the process ends.
StopSource& StopBySignals(int output, int keys = -1);

// Starts, by a shell, $VMEVENTS_PAGER if it is set, else $PAGER, else `less` if it is installed,
// else `cat`. pclose() closes the pager's input and waits for it; its exit status is 126 or 127 if
// nothing was shown. From then on this process ignores SIGINT. Null: it could not be started.
FILE* StartPager();

// `watch` and `events --follow`, for one server, several or a fleet. Runs until a signal,
// `--count`, `--timeout` or a failure ends it. Blocks the signals that end it, so call it before
// any thread starts.
ExitCode RunFollow(FollowCommand command, const CommandLine& line, Formatter* formatter);

// `push`. Runs until a signal, the receiver (410) or a failure that cannot be retried ends it; or
// does `--status`, `--test` or `--retry-set-aside`. Blocks the signals that end it, so call it
// before any thread starts.
ExitCode RunPush(const PushCommand& command, const CommandLine& line, Output* output);

// `proxy`: copies standard input to vmeventd's Unix socket and its answers to standard output,
// until one of them ends.
ExitCode RunProxy(const CommandLine& line);

// `web`. Runs until a signal ends it. Blocks these signals, so call it before any thread starts.
ExitCode RunWeb(const WebCommand& command, const CommandLine& line);

// The whole program behind main(): parses the arguments, runs the command, and prints to standard
// output and standard error. The caller must ignore SIGPIPE, and call this before any thread
// starts, because `watch` blocks the signals that end it.
ExitCode Run(const std::vector<std::string>& arguments, const OptionContext& context);

}  // namespace vmeventd::client
