#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "base/counter.h"

namespace vmeventd {

// Reason why a connection or a call was turned away.
enum class Refusal {
  kConnections,         // limit of one listener
  kConnectionsPerPeer,  // limit of one peer on it
  kDescriptors,         // no descriptor left in the process or the system
  kStreams,             // limit of open WatchEvents calls
  kStreamsPerPeer,      // limit of open WatchEvents calls of one peer
  kListRate,            // lists or counts requested too often
  kRequestSize,         // a request of too many bytes
  kRole,                // a reader called a method for operators
  kInboundRate,   // a connection sent too much, or made or reset too many calls, and has to wait
  kCalls,         // limit of open calls other than WatchEvents
  kCallsPerPeer,  // limit of other open calls of one peer
  kRequestTime,   // a request that was not complete in time
  kScrapes,       // a connection to the metrics was closed to make room
  kFrames,        // a connection was closed: it broke a rule for HTTP/2 frames
  // A connection was closed, or a call refused: its client does not read the data that waits for
  // it.
  kUnread,
  // A connection was closed before it was served: it took too long, or had to make room for others.
  kHandshakes,
  kTls,  // a TLS handshake failed
};
inline constexpr const char* kRefusalNames[] = {"connections",
                                                "connections_per_peer",
                                                "descriptors",
                                                "streams",
                                                "streams_per_peer",
                                                "list_rate",
                                                "request_size",
                                                "role",
                                                "inbound_rate",
                                                "calls",
                                                "calls_per_peer",
                                                "request_time",
                                                "scrapes",
                                                "frames",
                                                "unread",
                                                "handshakes",
                                                "tls"};
static_assert(std::size(kRefusalNames) == static_cast<size_t>(Refusal::kTls) + 1);

// Counts of each reason since the start. Any thread.
class RefusalCounters {
 public:
  void Count(Refusal reason) { counts_[static_cast<size_t>(reason)].Add(); }
  uint64_t value(Refusal reason) const { return counts_[static_cast<size_t>(reason)].value(); }

 private:
  std::array<Counter, std::size(kRefusalNames)> counts_;
};

}  // namespace vmeventd
