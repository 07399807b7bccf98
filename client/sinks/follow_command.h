#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "client/output/wanted.h"
#include "client/sinks/sink_options.h"
#include "client/sources/watch_command.h"

namespace vmeventd::client {

struct WatchSinkKind;

// `watch` and `events -f`.
struct FollowCommand {
  WatchCommand watch;
  std::optional<uint64_t> count;          // ends the watch after that many events
  std::optional<absl::Duration> timeout;  // ends the watch after this time
  // Begins with this number of the newest events, instead of the start in `watch`.
  std::optional<uint64_t> last;
  std::string cursor_file;              // empty: none
  const WatchSinkKind* sink = nullptr;  // the sink that an option chose; null: prints the events
  SinkOptions sink_options;

  // Returns whether a GAP of the whole node is handled like an event: counted, passed to a command,
  // pushed.
  bool asks_for_gaps() const { return AsksForGaps(watch.filter); }
};

}  // namespace vmeventd::client
