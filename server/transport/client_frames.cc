#include "server/transport/client_frames.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// Size of DATA below which a frame costs gRPC more than its bytes.
constexpr uint32_t kSmallData = 64;
constexpr double kControlPerAnswer = 4;
// A client that reads a long backlog later may grant its windows later.
constexpr double kMaxFreeControl = 100'000;

}  // namespace

std::optional<std::string> ClientFrames::Read(absl::string_view bytes, std::string* to_server) {
  if (!has_preface()) {
    const absl::string_view piece = bytes.substr(0, kHttp2Preface.size() - preface_bytes_);
    if (piece != kHttp2Preface.substr(preface_bytes_, piece.size())) {
      return "it does not begin with the preface of HTTP/2";
    }
    preface_bytes_ += piece.size();
    absl::StrAppend(to_server, piece);
    bytes.remove_prefix(piece.size());
  }
  while (const std::optional<FrameReader::Part> part = reader_.Next(&bytes)) {
    const FrameHeader& header = reader_.header();
    if (part->is_header) {
      if (std::optional<std::string> broken = OnHeader(header); broken.has_value()) return broken;
    }
    const bool is_headers = header.type == FrameType::kHeaders;
    absl::StrAppend(is_headers ? &headers_ : to_server, part->bytes);
    if (!part->ends_frame) continue;
    if (is_headers) absl::StrAppend(to_server, std::exchange(headers_, ""));
    if (!std::exchange(acknowledged_, true)) {
      absl::StrAppend(to_server,
                      EncodeFrame({.type = FrameType::kSettings, .flags = FrameHeader::kAck}, ""));
    }
  }
  return std::nullopt;
}

std::optional<std::string> ClientFrames::OnHeader(const FrameHeader& header) {
  if (!started_ &&
      (header.type != FrameType::kSettings || (header.flags & FrameHeader::kAck) != 0)) {
    return "its first frame is not SETTINGS";
  }
  started_ = true;
  if (header.length > kMaxFramePayload) {
    return absl::StrCat("a frame of ", header.length, " bytes; at most ", kMaxFramePayload,
                        " are allowed");
  }
  switch (header.type) {
    case FrameType::kHeaders:
      if (header.length > kMaxHeaders || (header.flags & FrameHeader::kEndHeaders) == 0) {
        return absl::StrCat("the headers of a call have more than ", kMaxHeaders,
                            " bytes, or are in several frames");
      }
      ++counts_.calls;
      last_stream_ = std::max(last_stream_, header.stream);
      break;
    case FrameType::kContinuation:
      return "CONTINUATION without HEADERS before it";
    case FrameType::kData:
      if (header.length < kSmallData && (header.flags & FrameHeader::kEndStream) == 0) {
        CountControl();
      }
      break;
    case FrameType::kResetStream:
      ++counts_.resets;
      break;
    default:
      CountControl();
  }
  return std::nullopt;
}

void ClientFrames::CountControl() {
  if (free_control_ >= 1) {
    free_control_ -= 1;
  } else {
    ++counts_.control;
  }
}

void ClientFrames::OnAnswer(FrameType type) {
  if (type == FrameType::kData || type == FrameType::kHeaders) {
    free_control_ = std::min(kMaxFreeControl, free_control_ + kControlPerAnswer);
  }
}

}  // namespace vmeventd
