#include "server/transport/frames.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

constexpr uint32_t kStreamBits = 0x7fffffff;

void AppendInteger(std::string* out, uint32_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(value >> shift));
  }
}

std::string Integer(uint32_t value, int bytes) {
  std::string out;
  AppendInteger(&out, value, bytes);
  return out;
}

// Appends a string of HPACK (RFC 7541, 5), not compressed.
void AppendText(std::string* out, absl::string_view text) {
  constexpr size_t kPrefix = 127;
  out->push_back(static_cast<char>(std::min(text.size(), kPrefix)));
  if (text.size() >= kPrefix) {
    size_t rest = text.size() - kPrefix;
    for (; rest >= 0x80; rest >>= 7) out->push_back(static_cast<char>(0x80 | (rest & 0x7f)));
    out->push_back(static_cast<char>(rest));
  }
  out->append(text.data(), text.size());
}

// Takes an integer (RFC 7541, 5.1), whose first byte has `bits` of it.
std::optional<uint64_t> TakeInteger(absl::string_view* block, int bits) {
  if (block->empty()) return std::nullopt;
  const uint64_t all = (uint64_t{1} << bits) - 1;
  uint64_t value = static_cast<uint8_t>(block->front()) & all;
  block->remove_prefix(1);
  if (value < all) return value;
  for (int shift = 0; shift < 32 && !block->empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(block->front());
    block->remove_prefix(1);
    value += uint64_t{byte & 0x7fu} << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

// Skips a string (RFC 7541, 5.2). False: it is not complete.
bool SkipText(absl::string_view* block) {
  const std::optional<uint64_t> size = TakeInteger(block, 7);
  if (!size.has_value() || *size > block->size()) return false;
  block->remove_prefix(*size);
  return true;
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

std::string ResetStreamFrame(uint32_t stream, Http2Error error) {
  return EncodeFrame({.type = FrameType::kResetStream, .stream = stream},
                     Integer(static_cast<uint32_t>(error), 4));
}

std::string WindowUpdateFrame(uint32_t stream, uint32_t bytes) {
  return EncodeFrame({.type = FrameType::kWindowUpdate, .stream = stream}, Integer(bytes, 4));
}

std::string GoAwayFrame(uint32_t last_stream, Http2Error error, absl::string_view why) {
  return EncodeFrame(
      {.type = FrameType::kGoAway},
      absl::StrCat(Integer(last_stream, 4), Integer(static_cast<uint32_t>(error), 4), why));
}

std::string TrailersOnlyFrame(uint32_t stream, int grpc_status, absl::string_view message) {
  constexpr char kStatus200 = static_cast<char>(0x88);  // index in the static table
  constexpr char kLiteral = 0;                          // a new name, and not indexed
  std::string block(1, kStatus200);
  const std::string status = absl::StrCat(grpc_status);
  for (const auto& [name, value] :
       {std::pair<absl::string_view, absl::string_view>{"content-type", "application/grpc"},
        {"grpc-status", status},
        {"grpc-message", message}}) {
    block.push_back(kLiteral);
    AppendText(&block, name);
    AppendText(&block, value);
  }
  return EncodeFrame({.type = FrameType::kHeaders,
                      .flags = FrameHeader::kEndStream | FrameHeader::kEndHeaders,
                      .stream = stream},
                     block);
}

std::optional<std::string> TableChanges(absl::string_view block) {
  std::string out;
  while (!block.empty()) {
    const absl::string_view rest = block;
    const auto first = static_cast<uint8_t>(block.front());
    const bool is_index = (first & 0x80) != 0;
    const bool inserts = (first & 0xc0) == 0x40;
    const bool resizes = (first & 0xe0) == 0x20;
    const std::optional<uint64_t> name = TakeInteger(&block, is_index  ? 7
                                                             : inserts ? 6
                                                             : resizes ? 5
                                                                       : 4);
    if (!name.has_value()) return std::nullopt;
    if (!is_index && !resizes) {
      if (*name == 0 && !SkipText(&block)) return std::nullopt;
      if (!SkipText(&block)) return std::nullopt;
    }
    if (inserts || resizes) absl::StrAppend(&out, rest.substr(0, rest.size() - block.size()));
  }
  return out;
}

}  // namespace vmeventd
