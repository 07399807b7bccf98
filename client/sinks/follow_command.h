#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "client/output/node_event.h"
#include "client/sources/source.h"

namespace vmeventd::client {

struct WatchSinkKind;

// Treatment of an event whose command failed.
enum class OnFailure {
  kStop,  // end the watch; the cursor stays before the event
  // Run it again, up to CommandRunner::kMaxRetries times with growing pauses, then end the watch.
  kRetry,
  kSkip,  // continue with the next event
};

// `watch` and `events -f`.
struct FollowCommand {
  WatchCommand watch;
  std::optional<uint64_t> count;          // ends the watch after that many events
  std::optional<absl::Duration> timeout;  // ends the watch after this time
  // Begins with this number of the newest events, instead of the start in `watch`.
  std::optional<uint64_t> last;
  std::string cursor_file;  // empty: none
  std::string exec;         // command for /bin/sh; empty: none
  OnFailure on_failure = OnFailure::kStop;
  const WatchSinkKind* sink = nullptr;  // the sink that an option chose; null: prints the events

  // Returns whether a GAP of the whole node is handled like an event: counted, passed to `exec`,
  // pushed.
  bool asks_for_gaps() const { return AsksForGaps(watch.filter); }
};

}  // namespace vmeventd::client
