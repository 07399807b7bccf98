// What passes does not depend on how a client's bytes are split, and stays within the rules.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/transport/client_frames.h"

namespace {

struct Result {
  bool breached = false;
  std::string what;
  std::string to_server;
  std::string to_client;
  bool operator==(const Result& other) const = default;
};

Result Read(absl::string_view bytes, size_t piece) {
  const vmeventd::FrameLimits limits{.resets = {1, 3}, .control = {1, 20}};
  vmeventd::PeerFrames peer(limits);
  vmeventd::ClientFrames frames(limits, &peer);
  Result out;
  while (!bytes.empty() && !out.breached) {
    const absl::string_view part = bytes.substr(0, piece);
    bytes.remove_prefix(part.size());
    const auto breach = frames.Read(part, absl::Seconds(1), &out.to_server, &out.to_client);
    out.breached = breach.has_value();
    if (breach.has_value()) out.what = breach->what;
  }
  return out;
}

// Whole frames, of which the server gets none that breaks a rule.
void CheckFrames(absl::string_view bytes, bool from_client) {
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
  if (!from_client && !reader.between_frames()) std::abort();
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
  // What precedes a breach may have passed in pieces before it was found.
  if (!whole.breached && !(whole == split)) std::abort();
  if (whole.breached != split.breached || whole.what != split.what) std::abort();
  for (const Result* result : {&whole, &split}) {
    if (result->to_server.size() >= vmeventd::kHttp2Preface.size()) {
      CheckFrames(absl::string_view(result->to_server).substr(vmeventd::kHttp2Preface.size()),
                  true);
    }
    CheckFrames(result->to_client, false);
  }
}
