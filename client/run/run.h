#pragma once

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/consume/delivery.h"
#include "client/fleet/fleet.h"
#include "client/options/options.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/push/push.h"
#include "client/sources/daemon_node.h"
#include "client/sources/list_source.h"
#include "client/sources/source.h"

// Runs the commands, and makes the sources that they read.

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

// The daemons that the command line names, at least one, each with a name if there are several or
// they are to be `named`: that of its node, or its address where it does not report one in time, or
// one that another has too. Asks all at once.
std::vector<DaemonNode> NodesOf(const CommandLine& line, bool named = false);
// The lists of the server, of the servers, or of the fleet that the command line names. `note` is
// called by any thread. `names` gets those of the servers, or that of the fleet.
std::unique_ptr<ListSource> ListsOf(const CommandLine& line, PrintSentence note,
                                    std::vector<std::string>* names = nullptr);
// Completes "is known".
std::string Where(const CommandLine& line);
FleetEnvironment FleetOf(const CommandLine& line, PrintSentence note);

// `watch` and `events --follow`, of one server, of several or of a fleet: until a signal, `--count`
// or a failure ends it. Blocks the signals that end it, so call it before any thread starts.
ExitCode RunFollow(FollowCommand command, const CommandLine& line, Formatter* formatter);

// Makes the source that `watch`, `events --follow`, `push` and the page follow: behind the
// positions of the servers that have one, else as the command starts, whose `last` it ignores.
// `stop` must outlive the source; `note` is called by any thread.
std::unique_ptr<Source> MakeSource(const FollowCommand& command, const CommandLine& line,
                                   const CursorFile::Positions& positions, StopSource* stop,
                                   const PrintSentence& note);
// The servers' keys in a cursor file.
std::vector<std::string> CursorKeys(const CommandLine& line);
// Replaces the start of a command with `last`, at the servers without a position: by the oldest of
// the newest events of all. A server of several that fails is noted, and its history is not worth
// more than that of the others.
std::optional<Failure> SetStart(const CommandLine& line, const CursorFile::Positions& positions,
                                FollowCommand* command);

// `push`, until a signal, the receiver (410) or a failure that cannot be retried ends it; or its
// `--status`. Blocks the signals that end it, so call it before any thread starts.
ExitCode RunPush(const PushCommand& command, const CommandLine& line, Output* output);

// A push that runs. What it points to outlives it.
struct PushRun {
  const PushCommand& command;
  const CommandLine& line;
  const PushTarget& target;
  CursorFile* cursor;
  PushLog* log;
  StopSource* stop;
};
// Publishes into a fleet's stream. `push` outlives the sink.
std::unique_ptr<PushSink> MakeFleetSink(const PushRun& push);

// The content of a file that an option names, which must have something in it; of a `secret`, which
// not every user may read. INVALID_ARGUMENT names the option and the fault.
absl::StatusOr<std::string> ReadOption(const char* option, const std::string& path,
                                       bool secret = true);

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
