#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/connection.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sinks/cursor_file.h"
#include "client/sinks/follow_command.h"
#include "client/sinks/push_command.h"
#include "client/sinks/push_files.h"
#include "client/sinks/push_log.h"
#include "client/sinks/push_target.h"
#include "client/sinks/sink.h"
#include "client/sources/servers.h"

// The table of sinks. A new sink needs a file with its row, which client/CMakeLists.txt names, an
// entry in AllSinks(), members for its options in FollowCommand or PushCommand, and a page in
// docs/.

namespace vmeventd::client {

// A watch that starts. All objects in it must outlive the sink.
struct WatchRun {
  const FollowCommand& command;
  Formatter* formatter;
  Output* output;
  StopSource* stop;
  PrintSentence note;
};

// A sink of `watch`.
struct WatchSinkKind {
  absl::string_view flag;  // the option that chooses it; empty: no option does
  // Adds the sink's options to `watch`. They set members of `command`, which must outlive `watch`.
  // Null: it has no options.
  void (*options)(CLI::App* watch, FollowCommand* command);
  std::unique_ptr<EventSink> (*make)(const WatchRun& run);
};

// A push that starts. All objects in it must outlive the sink.
struct PushRun {
  const PushCommand& command;
  const PushTarget& target;
  const Servers& servers;  // whose events are pushed
  const PushFiles& files;
  const std::string& form;  // the checked template; empty: none
  CursorFile* cursor;
  PushLog* log;
  StopSource* stop;
};

// A sink of `push`.
struct PushSinkKind {
  // The prefixes of its URLs.
  std::array<absl::string_view, 2> schemes;
  // Parses and checks a URL: see ParsePushTarget().
  absl::StatusOr<PushTarget> (*parse)(absl::string_view url, bool insecure);
  // Adds the sink's options to `push`. They set members of `command`, which must outlive `push`.
  void (*options)(CLI::App* push, PushCommand* command);
  // Checks whether the options fit the target. INVALID_ARGUMENT says what does not fit.
  absl::Status (*check)(const PushCommand& command, const PushTarget& target);
  absl::StatusOr<std::unique_ptr<EventSink>> (*make)(const PushRun& push);
  // The longest pause before the next attempt.
  absl::Duration longest_pause;
};

extern const WatchSinkKind kPrintSink;
extern const WatchSinkKind kExecSink;
extern const PushSinkKind kHttpSink;
extern const PushSinkKind kNatsSink;

// The sinks, in the order in which the help shows their options. The first of each list is the
// default.
struct SinkTable {
  std::vector<const WatchSinkKind*> of_watch;
  std::vector<const PushSinkKind*> of_push;
};
const SinkTable& AllSinks();

// Parses and checks the URL of a push. Its prefix chooses the sink. An unencrypted URL is accepted
// only for loopback, or if `insecure`. INVALID_ARGUMENT names the fault, without the path;
// FAILED_PRECONDITION: libcurl is missing.
absl::StatusOr<PushTarget> ParsePushTarget(absl::string_view url, bool insecure);

}  // namespace vmeventd::client
