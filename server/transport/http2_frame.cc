#include "server/transport/http2_frame.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

constexpr uint32_t kStreamBits = 0x7fffffff;
constexpr uint32_t kEnhanceYourCalm = 11;

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

}  // namespace vmeventd
