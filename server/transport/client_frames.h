#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/access/refusals.h"
#include "server/transport/frames.h"

namespace vmeventd {

// Limits of the frames of a client. They cost gRPC as frames, not as bytes.
struct FrameLimits {
  // RST_STREAM: gRPC 1.51 spends far more on a call that is reset at once than the client.
  TokenRate resets = {100, 500};
  TokenRate resets_of_peer = {200, 2'000};
  // SETTINGS, PING, PRIORITY, WINDOW_UPDATE, frames of unknown type, and DATA of a few bytes that
  // ends nothing; but for each frame of a call that it receives, a client may send
  // `control_per_answer` free of charge. Clients grant windows and measure bandwidth with them,
  // some for each frame that they receive.
  TokenRate control = {1'000, 4'000};
  TokenRate control_of_peer = {5'000, 20'000};
  double control_per_answer = 4;
  // So many of each kind of one connection do not count for its peer, so that a peer's flood on one
  // connection does not end its other ones.
  double always = 50;

  uint32_t max_request_bytes = 1 << 20;
  // A compressed request may become a thousand times larger, and gRPC 1.51 does not bound that.
  uint32_t max_compressed_request_bytes = 4 << 10;
};

// State of all connections of a peer together.
struct PeerFrames {
  explicit PeerFrames(const FrameLimits& limits)
      : resets(limits.resets_of_peer), control(limits.control_of_peer) {}
  TokenBucket resets;
  TokenBucket control;
  size_t headers_in_parts = 0;  // blocks of headers that CONTINUATION must complete
};

// Reason to close a connection.
struct Breach {
  Refusal reason;
  std::string what;  // for people
  bool is_http2;     // the client understands a GOAWAY
};

// The frames of one client, which it reads before gRPC does: frames that could harm gRPC 1.51 do
// not reach it (docs/internals/adr/0012-a-relay.md). No system call, no clock, one thread.
class ClientFrames {
 public:
  static constexpr size_t kMaxOpenRequests = 4'096;
  static constexpr size_t kMaxRefusedRequests = 100;  // limit of remembered ones
  // A call's headers have at most kMaxFramePayload bytes; of more, up to this, the call is refused.
  static constexpr size_t kMaxHeaders = 64 << 10;
  static constexpr size_t kMaxHeadersInParts = 256;  // of a peer

  // `peer` outlives it.
  ClientFrames(const FrameLimits& limits, PeerFrames* peer);
  ~ClientFrames() { EndParts(); }
  ClientFrames(const ClientFrames&) = delete;
  ClientFrames& operator=(const ClientFrames&) = delete;

  // Takes what the client sent, once the server has sent its SETTINGS. Appends to `to_server` what
  // the server may read: headers once they are complete, other frames as they come; and to
  // `to_client` whole frames, which may go out between any two of the server's. After the client's
  // first frame the server's SETTINGS are acknowledged in its name: gRPC 1.51 keeps none of its
  // bounds before, neither that on a call's fields nor that on open calls, and a client need never
  // do it. A breach: nothing after it may pass. `now` is monotonic.
  std::optional<Breach> Read(absl::string_view bytes, absl::Duration now, std::string* to_server,
                             std::string* to_client);
  // Notes that the server sends a frame.
  void OnAnswer(const FrameHeader& header);

  // The calls that were opened since the last such question.
  int TakeCalls() { return std::exchange(calls_, 0); }
  uint32_t last_stream() const { return last_stream_; }
  // The requests that were refused by their length, or that of their headers, since the last such
  // question.
  int TakeRefusedRequests() { return std::exchange(refused_requests_, 0); }

 private:
  // A request that the client still sends: length-prefixed messages (5 bytes, then the content).
  struct Request {
    std::array<uint8_t, 5> prefix{};
    uint8_t prefix_bytes = 0;
    uint32_t left = 0;  // bytes left of the message
  };

  std::optional<Breach> OnHeader(const FrameHeader& header, absl::Duration now);
  std::optional<Breach> OnHeaders(const FrameHeader& header);
  std::optional<Breach> OnContinuation(const FrameHeader& header, absl::Duration now);
  std::optional<Breach> Count(TokenBucket* own, TokenBucket* of_peer, double* always,
                              Refusal reason, const char* what, absl::Duration now);
  std::optional<Breach> CountControl(absl::Duration now);
  // Passes the complete headers on; refuses a call that has too many.
  std::optional<Breach> PassHeaders(std::string* to_server, std::string* to_client);
  void EndParts() {
    if (std::exchange(in_parts_, false)) --peer_->headers_in_parts;
  }
  void RefuseRequest(uint32_t stream, const Request& request, std::string* to_client);
  void Refuse(uint32_t stream, int code, absl::string_view why, std::string* to_client);
  bool WasRefused(uint32_t stream) const;
  // Follows the messages within DATA. True: one is too large.
  bool OnContent(absl::string_view bytes, Request* request) const;

  const FrameLimits limits_;
  PeerFrames* const peer_;
  TokenBucket resets_;
  TokenBucket control_;
  double always_resets_;
  double always_control_;
  double free_control_ = 0;

  size_t preface_bytes_ = 0;
  bool started_ = false;       // the first frame, SETTINGS, has begun
  bool acknowledged_ = false;  // the server's SETTINGS were acknowledged
  FrameReader reader_;
  bool drops_ = false;           // drops the frame that is read
  bool resets_after_ = false;    // resets its stream once it is complete
  FrameHeader headers_frame_{};  // HEADERS, of which headers_ is
  std::string headers_;          // incomplete headers, without those of their frames
  bool in_parts_ = false;        // CONTINUATION must come next
  int calls_ = 0;
  uint32_t last_stream_ = 0;
  absl::flat_hash_map<uint32_t, Request> requests_;  // requests that the client has not ended
  // The last requests that were refused, whose DATA does not pass. A client that has read the
  // refusal sends no more, and does not say so.
  std::deque<uint32_t> refused_;
  int refused_requests_ = 0;
};

}  // namespace vmeventd
