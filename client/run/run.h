#pragma once

#include <string>
#include <vector>

#include "client/commands/web.h"
#include "client/connect/failure.h"
#include "client/options/command_line.h"
#include "client/options/option_context.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sinks/follow_command.h"
#include "client/sinks/push_command.h"

// Runs the commands.

namespace vmeventd::client {

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
