#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

// HTTP/2 frames (RFC 9113, 4.1): nine bytes, then the payload.

namespace vmeventd {

inline constexpr absl::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
// The most that gRPC's server takes here: the protocol's default of SETTINGS_MAX_FRAME_SIZE.
inline constexpr uint32_t kMaxFramePayload = 16 << 10;

enum class FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kResetStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

enum class Http2Error : uint32_t { kNone = 0, kCancel = 8, kEnhanceYourCalm = 11 };

struct FrameHeader {
  static constexpr size_t kBytes = 9;
  static constexpr uint8_t kEndStream = 1;   // flag of DATA and HEADERS
  static constexpr uint8_t kAck = 1;         // flag of SETTINGS and PING
  static constexpr uint8_t kEndHeaders = 4;  // flag of HEADERS and CONTINUATION
  static constexpr uint8_t kPadded = 8;      // flag of HEADERS
  static constexpr uint8_t kPriority = 32;   // flag of HEADERS: five bytes before the block

  FrameType type;
  uint8_t flags = 0;
  uint32_t length = 0;  // size of the payload; EncodeFrame ignores it
  uint32_t stream = 0;

  bool EndsStream() const {
    return type == FrameType::kResetStream ||
           ((type == FrameType::kData || type == FrameType::kHeaders) && (flags & kEndStream) != 0);
  }
};

// Finds the frames in a stream of bytes that comes in pieces of any size. Keeps nine bytes at most.
class FrameReader {
 public:
  // A header, once all of it has come, or a piece of the payload after it.
  struct Part {
    bool is_header;
    absl::string_view bytes;  // valid until the next call
    bool ends_frame;
  };
  // Takes the next part from the front of `*bytes`; nullopt: they held no more than the beginning
  // of a header, and are used up.
  std::optional<Part> Next(absl::string_view* bytes);

  const FrameHeader& header() const { return header_; }
  bool between_frames() const { return held_ == 0 && left_ == 0; }

 private:
  std::array<char, FrameHeader::kBytes> raw_;
  size_t held_ = 0;    // bytes of raw_, of a header that is not complete
  uint32_t left_ = 0;  // bytes left of the payload
  FrameHeader header_{};
};

std::string EncodeFrame(const FrameHeader& header, absl::string_view payload);
std::string ResetStreamFrame(uint32_t stream, Http2Error error);
// Grants `bytes` on the stream; `stream` 0: on the connection.
std::string WindowUpdateFrame(uint32_t stream, uint32_t bytes);
std::string GoAwayFrame(uint32_t last_stream, Http2Error error, absl::string_view why);
// Ends a gRPC call that has had no answer yet. Leaves the tables of the header compression alone,
// so that it may stand between any two frames. `grpc_status` is as grpc::StatusCode; `message` is
// ASCII.
std::string TrailersOnlyFrame(uint32_t stream, int grpc_status, absl::string_view message);

// Returns what of a block of compressed headers changes the table (RFC 7541, 6), which the headers
// of later streams refer to; nullopt: it is no such block.
std::optional<std::string> TableChanges(absl::string_view block);

}  // namespace vmeventd
