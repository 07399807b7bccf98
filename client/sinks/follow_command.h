#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "client/output/node_event.h"
#include "client/sources/source.h"

namespace vmeventd::client {

struct WatchSinkKind;

// Handling of an event whose command failed.
enum class OnFailure {
  kStop,   // end the watch; the cursor stays before the event
  kRetry,  // run it again, kMaxRetries times with growing pauses, then end the watch
  kSkip,   // continue with the next event
};

// `watch` and `events -f`.
struct FollowCommand {
  WatchCommand watch;
  std::optional<uint64_t> count;          // ends after that many events
  std::optional<absl::Duration> timeout;  // ends after so long
  std::optional<uint64_t> last;           // begins with the newest so many events instead
  std::string cursor_file;                // empty: none
  std::string exec;                       // command for /bin/sh; empty: none
  OnFailure on_failure = OnFailure::kStop;
  const WatchSinkKind* sink = nullptr;  // the one that an option chose; null: prints the events

  // Returns whether a GAP of the whole node counts, runs `exec`, and is pushed.
  bool asks_for_gaps() const { return AsksForGaps(watch.filter); }
};

}  // namespace vmeventd::client
