// What passes does not depend on how a client's bytes are split, and stays within the rules.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "server/transport/client_frames.h"
#include "server/transport/http2_frame.h"

namespace {

struct Result {
  std::optional<std::string> broken;
  std::string to_server;
  bool operator==(const Result& other) const = default;
};

Result Read(absl::string_view bytes, size_t piece) {
  vmeventd::ClientFrames frames;
  Result out;
  while (!bytes.empty() && !out.broken.has_value()) {
    out.broken = frames.Read(bytes.substr(0, piece), &out.to_server);
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  return out;
}

// The server gets no frame that breaks a rule.
void CheckFrames(absl::string_view bytes) {
  vmeventd::FrameReader reader;
  while (const auto part = reader.Next(&bytes)) {
    if (!part->is_header) continue;
    const vmeventd::FrameHeader& header = reader.header();
    if (header.length > vmeventd::kMaxFramePayload) std::abort();
    if (header.type == vmeventd::FrameType::kContinuation) std::abort();
    if (header.type == vmeventd::FrameType::kHeaders &&
        (header.flags & vmeventd::FrameHeader::kEndHeaders) == 0) {
      std::abort();
    }
  }
}

}  // namespace

void Fuzz_client_frames(absl::string_view input) {
  if (input.size() < 2) return;
  const size_t piece = static_cast<uint8_t>(input[0]) + 1;
  // Most inputs would fail at the preface.
  std::string bytes;
  if (static_cast<uint8_t>(input[1]) % 4 != 0) {
    bytes = std::string(vmeventd::kHttp2Preface) + std::string("\0\0\0\4\0\0\0\0\0", 9);
  }
  bytes.append(input.data() + 2, input.size() - 2);
  const Result whole = Read(bytes, bytes.size());
  const Result split = Read(bytes, piece);
  // Bytes before a broken rule may have passed in pieces before it was found.
  if (!whole.broken.has_value() && !(whole == split)) std::abort();
  if (whole.broken != split.broken) std::abort();
  for (const Result* result : {&whole, &split}) {
    if (result->to_server.size() >= vmeventd::kHttp2Preface.size()) {
      CheckFrames(absl::string_view(result->to_server).substr(vmeventd::kHttp2Preface.size()));
    }
  }
}
