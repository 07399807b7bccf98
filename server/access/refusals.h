#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "base/counter.h"

namespace vmeventd {

// Reason why a connection or a call was turned away.
enum class Refusal {
  kConnections,         // limit of one listener
  kConnectionsPerPeer,  // limit of one peer on it
  kDescriptors,         // no descriptor left in the process or the system
  kStreams,             // limit of open WatchEvents calls
  kStreamsPerPeer,      // limit of one peer's
  kListRate,            // ListEvents and ListVms too often
  kRequestSize,         // a request of too many bytes
  kRole,                // a reader called a method for operators
  kInboundRate,         // a connection sent, called or reset too much, and has to wait
  kCalls,               // limit of open calls beside WatchEvents
  kCallsPerPeer,        // limit of one peer's
  kRequestTime,         // a request that was not complete in time
  kScrapes,             // a connection of the metrics was closed to make room
  kFrames,              // a connection was closed: it broke a rule for HTTP/2 frames
  kUnread,      // a connection was closed, or a call refused: its client does not read what waits
  kHandshakes,  // a connection was closed before it was served: it took too long, or others came
  kTls,         // a TLS handshake failed
};
inline constexpr std::array<absl::string_view, 17> kRefusalNames = {"connections",
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

// Counts of each reason since the start. Any thread.
class RefusalCounters {
 public:
  void Count(Refusal reason) { counts_[static_cast<size_t>(reason)].Add(); }
  uint64_t value(Refusal reason) const { return counts_[static_cast<size_t>(reason)].value(); }

 private:
  std::array<Counter, kRefusalNames.size()> counts_;
};

}  // namespace vmeventd
