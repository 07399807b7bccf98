#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "base/counter.h"
#include "base/latency_histogram.h"

namespace vmeventd {

enum class StreamEnd {
  kClient,          // the client cancelled it or went away
  kOutOfRange,      // its cursor is no longer retained
  kStalledWrite,    // the client did not read for the write timeout
  kShutdown,        // vmeventd stops
  kLimit,           // refused: too many streams
  kInvalidRequest,  // refused: the request is wrong
  kError,           // any other error, such as a journal that cannot be read
};
// Labels of a metric.
inline constexpr std::array<const char*, 7> kStreamEndNames = {
    "client", "out_of_range", "stalled_write", "shutdown", "limit", "invalid_request", "error"};

// Counters of the streams of one hub. Any thread.
class StreamMeters {
 public:
  // Counts a call that ended with `status`. RESOURCE_EXHAUSTED counts as `exhausted`, UNAVAILABLE
  // as `unavailable`.
  void CountEnd(const absl::Status& status, StreamEnd exhausted, StreamEnd unavailable) {
    StreamEnd end = StreamEnd::kError;
    if (absl::IsCancelled(status)) end = StreamEnd::kClient;
    if (absl::IsOutOfRange(status)) end = StreamEnd::kOutOfRange;
    if (absl::IsResourceExhausted(status)) end = exhausted;
    if (absl::IsUnavailable(status)) end = unavailable;
    if (absl::IsInvalidArgument(status)) end = StreamEnd::kInvalidRequest;
    ends_[static_cast<size_t>(end)].Add();
  }
  uint64_t ends(StreamEnd end) const { return ends_[static_cast<size_t>(end)].value(); }

  Counter opened;
  // Messages passed to the network.
  Counter sent_messages;
  Counter sent_events;
  Counter sent_bytes;
  // Time from an event's publication until gRPC has written it, for the streams that were open
  // then.
  LatencyHistogram public_to_sent;

 private:
  std::array<Counter, kStreamEndNames.size()> ends_;
};

}  // namespace vmeventd
