#pragma once

#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/stop_source.h"
#include "client/sinks/cursor_file.h"
#include "client/sinks/follow_command.h"
#include "client/sinks/push_command.h"
#include "client/sinks/push_files.h"
#include "client/sinks/push_log.h"
#include "client/sinks/push_target.h"
#include "client/sinks/sink.h"
#include "client/sinks/sink_options.h"
#include "client/sources/servers.h"

namespace vmeventd::client {

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
  absl::string_view what;     // what receives the events, as "a NATS server"
  absl::string_view url;      // which URLs it takes, for the help
  absl::string_view example;  // a URL
  // A paragraph of the command's --help, in lines of at most 80 columns; empty: none.
  absl::string_view help = "";
  // The prefixes of its URLs, the second one of those without TLS. Empty: there are no such URLs.
  absl::string_view scheme;
  absl::string_view plain_scheme;
  // The option that selects this sink if the URL is in a file; empty: it has none.
  absl::string_view flag = "";
  // Takes all events of one node as they are, when they are durable; begins with the oldest by
  // default. The options of a filter and of a form exclude `flag`, as those of other sinks do.
  bool of_one_node = false;
  // Parses and checks a URL: see ParsePushTarget().
  absl::StatusOr<PushTarget> (*parse)(absl::string_view url, bool insecure);
  // Adds the options that only this sink takes to `push`. They write to `options`, which must
  // outlive `push`. Null: it has none.
  void (*options)(CLI::App* push, SinkOptions* options) = nullptr;
  // Checks whether the options fit the target. INVALID_ARGUMENT says what does not fit. Null: all
  // fit.
  absl::Status (*check)(const PushCommand& command, const PushTarget& target) = nullptr;
  // Checks the files that its options name. INVALID_ARGUMENT names the fault. Null: it has none.
  absl::Status (*check_files)(const PushCommand& command) = nullptr;
  // Sends TrialEvent() in this form (the checked template; empty: none), and returns the receiver's
  // answer in one line. UNAVAILABLE: the receiver did not accept it. Null: it takes no such event.
  absl::StatusOr<std::string> (*send_test)(const PushCommand& command, const PushTarget& target,
                                           const std::string& form) = nullptr;
  absl::StatusOr<std::unique_ptr<EventSink>> (*make)(const PushRun& push);
  // The longest pause before the next attempt.
  absl::Duration longest_pause;
};

}  // namespace vmeventd::client
