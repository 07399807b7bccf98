#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace vmeventd {

// HTTP/2 frames (RFC 9113, 4.1): nine bytes, then the payload.

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

// Reads the frames of one client before gRPC does: frames that could harm gRPC 1.51 do not reach it
// (docs/internals/adr/0012-a-relay.md). No system call, no clock, one thread.
class ClientFrames {
 public:
  // Appends to `to_server` the part of `bytes`, which the client sent, that gRPC may read: headers
  // once they are complete, other frames as they come. After the client's first frame, acknowledges
  // the server's SETTINGS in the client's name: until then gRPC 1.51 applies none of its limits (on
  // a call's fields, on open calls), and a client need never acknowledge. Returns the rule that the
  // client has broken, for people: nothing more may pass.
  std::optional<std::string> Read(absl::string_view bytes, std::string* to_server);
  // Records a frame from the server. For each frame of a call, the client may send four control
  // frames that are not counted: clients grant windows and measure bandwidth with them.
  void OnAnswer(FrameType type);

  // Number of frames, since the last TakeCounts(), that cost gRPC more than their bytes.
  struct Counts {
    int calls = 0;
    int resets = 0;
    // SETTINGS, PING, PRIORITY, WINDOW_UPDATE, frames of unknown type, and DATA of a few bytes that
    // does not end a call; without those that are not counted (OnAnswer).
    int control = 0;
  };
  Counts TakeCounts() { return std::exchange(counts_, {}); }

  bool has_preface() const { return preface_bytes_ == kHttp2Preface.size(); }
  uint32_t last_stream() const { return last_stream_; }

 private:
  std::optional<std::string> OnHeader(const FrameHeader& header);
  void CountControl();

  size_t preface_bytes_ = 0;
  bool started_ = false;       // the first frame, SETTINGS, has begun
  bool acknowledged_ = false;  // the server's SETTINGS were acknowledged
  FrameReader reader_;
  std::string headers_;  // an incomplete HEADERS frame
  Counts counts_;
  double free_control_ = 0;
  uint32_t last_stream_ = 0;
};

}  // namespace vmeventd
