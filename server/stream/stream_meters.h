#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/counter.h"

namespace vmeventd {

enum class StreamEnd {
  kClient,          // the client cancelled it or went away
  kOutOfRange,      // its cursor is no longer retained
  kStalledWrite,    // the client did not read for the write timeout
  kShutdown,        // vmeventd stops
  kLimit,           // refused: too many streams
  kInvalidRequest,  // refused: the request is wrong
  kError,           // the journal could not be read, and so on
};
inline constexpr size_t kStreamEnds = static_cast<size_t>(StreamEnd::kError) + 1;

// Label of a metric: "client", "out_of_range".
inline absl::string_view StreamEndName(StreamEnd end) {
  constexpr std::array<const char*, kStreamEnds> kNames = {
      "client", "out_of_range", "stalled_write", "shutdown", "limit", "invalid_request", "error"};
  return kNames[static_cast<size_t>(end)];
}

// Counters of the streams of one hub. Any thread.
class StreamMeters {
 public:
  // A call that ended with `status`: one that was open, or one that was refused. `stopping`: while
  // the daemon stops; at other times it is the journal that is UNAVAILABLE.
  void CountEnd(const absl::Status& status, bool stopping) {
    StreamEnd end = EndOf(status, StreamEnd::kStalledWrite);
    if (end == StreamEnd::kShutdown && !stopping) end = StreamEnd::kError;
    ends_[static_cast<size_t>(end)].Add();
  }
  void CountRefusal(const absl::Status& status) {
    ends_[static_cast<size_t>(EndOf(status, StreamEnd::kLimit))].Add();
  }
  uint64_t ends(StreamEnd end) const { return ends_[static_cast<size_t>(end)].value(); }

  Counter opened;
  Counter turns;  // turns of streams on the fan-out's threads
  // Handed over to the network.
  Counter sent_messages;
  Counter sent_events;
  Counter sent_bytes;
  // Time from an event's publication until gRPC has written it, for the streams that were open
  // then.
  LatencyHistogram public_to_sent;

 private:
  static StreamEnd EndOf(const absl::Status& status, StreamEnd exhausted) {
    switch (status.code()) {
      case absl::StatusCode::kCancelled:
        return StreamEnd::kClient;
      case absl::StatusCode::kOutOfRange:
        return StreamEnd::kOutOfRange;
      case absl::StatusCode::kResourceExhausted:
        return exhausted;
      case absl::StatusCode::kUnavailable:
        return StreamEnd::kShutdown;
      case absl::StatusCode::kInvalidArgument:
        return StreamEnd::kInvalidRequest;
      default:
        return StreamEnd::kError;
    }
  }

  std::array<Counter, kStreamEnds> ends_;
};

// Distance of the open streams from the newest event.
struct StreamLag {
  int behind = 0;  // streams that are not at the newest event
  uint64_t max_events = 0;
  uint64_t summed_events = 0;
};

}  // namespace vmeventd
