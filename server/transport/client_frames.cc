#include "server/transport/client_frames.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

constexpr uint32_t kStreamBits = 0x7fffffff;
constexpr uint32_t kEnhanceYourCalm = 11;
// Size of DATA below which a frame costs gRPC more than its bytes.
constexpr uint32_t kSmallData = 64;
constexpr double kControlPerAnswer = 4;
// A client that reads a long backlog later may grant its windows later.
constexpr double kMaxFreeControl = 100'000;

void AppendInteger(std::string* out, uint32_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(value >> shift));
  }
}

}  // namespace

std::optional<FrameReader::Part> FrameReader::Next(absl::string_view* bytes) {
  if (bytes->empty()) return std::nullopt;
  if (left_ > 0) {
    const absl::string_view piece = bytes->substr(0, left_);
    bytes->remove_prefix(piece.size());
    left_ -= static_cast<uint32_t>(piece.size());
    return Part{false, piece, left_ == 0};
  }
  const size_t taken = std::min(bytes->size(), raw_.size() - held_);
  std::memcpy(raw_.data() + held_, bytes->data(), taken);
  bytes->remove_prefix(taken);
  held_ += taken;
  if (held_ < raw_.size()) return std::nullopt;
  held_ = 0;
  const auto byte = [this](size_t i) {
    return static_cast<uint32_t>(static_cast<uint8_t>(raw_[i]));
  };
  header_.length = byte(0) << 16 | byte(1) << 8 | byte(2);
  header_.type = static_cast<FrameType>(raw_[3]);
  header_.flags = static_cast<uint8_t>(raw_[4]);
  header_.stream = (byte(5) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8)) & kStreamBits;
  left_ = header_.length;
  return Part{true, {raw_.data(), raw_.size()}, left_ == 0};
}

std::string EncodeFrame(const FrameHeader& header, absl::string_view payload) {
  std::string out;
  out.reserve(FrameHeader::kBytes + payload.size());
  AppendInteger(&out, static_cast<uint32_t>(payload.size()), 3);
  out.push_back(static_cast<char>(header.type));
  out.push_back(static_cast<char>(header.flags));
  AppendInteger(&out, header.stream, 4);
  out.append(payload.data(), payload.size());
  return out;
}

std::string GoAwayFrame(uint32_t last_stream, absl::string_view why) {
  std::string payload;
  AppendInteger(&payload, last_stream, 4);
  AppendInteger(&payload, kEnhanceYourCalm, 4);
  absl::StrAppend(&payload, why);
  return EncodeFrame({.type = FrameType::kGoAway}, payload);
}

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
