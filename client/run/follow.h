#ifndef VMEVENTD_CLIENT_RUN_FOLLOW_H_
#define VMEVENTD_CLIENT_RUN_FOLLOW_H_

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "client/connect/failure.h"
#include "client/connect/stop_source.h"
#include "client/consume/cursor_file.h"
#include "client/consume/watch_sink.h"
#include "client/options/options.h"
#include "client/output/format_table.h"

namespace vmeventd::client {

// `watch` and `events --follow`, of one server, of several or of a fleet: until a signal, `--count`
// or a failure ends it. Blocks the signals that end it, so call it before any thread starts.
ExitCode RunFollow(const FollowCommand& command, const CommandLine& line, Formatter* formatter);

// What it follows, of which `push` makes use too.
using MadeSource = std::variant<std::unique_ptr<WatchSource>, Failure>;
// `cursor` may be null; it and `stop` must outlive the source.
MadeSource MakeSource(const FollowCommand& command, const CommandLine& line,
                      const CursorFile* cursor, StopSource* stop);
// The servers' keys in a cursor file.
std::vector<std::string> CursorKeys(const CommandLine& line);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_FOLLOW_H_
