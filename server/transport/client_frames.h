#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "server/transport/http2_frame.h"

namespace vmeventd {

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
