#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

// HTTP/2 frames (RFC 9113, 4.1): nine bytes, then the payload. Pure.

namespace vmeventd {

inline constexpr absl::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
// Limit of a frame's payload that gRPC's server accepts here: the protocol's default of
// SETTINGS_MAX_FRAME_SIZE.
inline constexpr uint32_t kMaxFramePayload = 16 << 10;
// Limit of a call's headers, which are in one frame.
inline constexpr uint32_t kMaxHeaders = 8 << 10;

enum class FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kResetStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

struct FrameHeader {
  static constexpr size_t kBytes = 9;
  static constexpr uint8_t kEndStream = 1;   // flag of DATA and HEADERS
  static constexpr uint8_t kAck = 1;         // flag of SETTINGS and PING
  static constexpr uint8_t kEndHeaders = 4;  // flag of HEADERS

  FrameType type;
  uint8_t flags = 0;
  uint32_t length = 0;  // size of the payload; EncodeFrame ignores it
  uint32_t stream = 0;
};

// Finds the frames in a stream of bytes that arrives in pieces of any size. Stores at most nine
// bytes.
class FrameReader {
 public:
  // A complete header, or a piece of the payload after it.
  struct Part {
    bool is_header;
    absl::string_view bytes;  // valid until the next call
    bool ends_frame;
  };
  // Takes the next part from the front of `*bytes`; nullopt: they were only the beginning of a
  // header, and are used up.
  std::optional<Part> Next(absl::string_view* bytes);

  const FrameHeader& header() const { return header_; }
  bool between_frames() const { return held_ == 0 && left_ == 0; }

 private:
  std::array<char, FrameHeader::kBytes> raw_;
  size_t held_ = 0;    // bytes of an incomplete header in raw_
  uint32_t left_ = 0;  // bytes left of the payload
  FrameHeader header_{};
};

std::string EncodeFrame(const FrameHeader& header, absl::string_view payload);
// Encodes a GOAWAY with ENHANCE_YOUR_CALM.
std::string GoAwayFrame(uint32_t last_stream, absl::string_view why);

}  // namespace vmeventd
