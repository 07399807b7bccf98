#include "watcher/core/foreign_text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/utf8.h"

namespace vmeventd {

std::string EscapeNonUtf8(absl::string_view bytes, absl::string_view mark) {
  std::string text;
  text.reserve(bytes.size());
  while (true) {
    // Most of it is ASCII.
    const auto ascii_end = std::find_if(bytes.begin(), bytes.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0x80) != 0;
    });
    const auto ascii = static_cast<size_t>(ascii_end - bytes.begin());
    text.append(bytes.data(), ascii);
    bytes.remove_prefix(ascii);
    if (bytes.empty()) return text;
    const size_t length = DecodeUtf8(bytes).length;
    if (length == 0) {
      // Written by hand: a hostile peer may send megabytes of such bytes.
      constexpr char kDigits[] = "0123456789abcdef";
      const auto byte = static_cast<unsigned char>(bytes[0]);
      text.append(mark.data(), mark.size()).append({kDigits[byte >> 4], kDigits[byte & 0xF]});
      bytes.remove_prefix(1);
    } else {
      text.append(bytes.data(), length);
      bytes.remove_prefix(length);
    }
  }
}

std::string OneLine(absl::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const auto [code, length] = DecodeUtf8(bytes);
    const absl::string_view character = bytes.substr(0, std::max(length, size_t{1}));
    bytes.remove_prefix(character.size());
    if (length > 0 && code >= 0x20 && code != '\\' && (code < 0x7f || code > 0x9f)) {
      absl::StrAppend(&out, character);
      continue;
    }
    for (const char byte : character) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(byte));
    }
  }
  return out;
}

std::string EscapeName(absl::string_view bytes) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  std::string unambiguous;
  unambiguous.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size(); ++i) {
    unambiguous.push_back(bytes[i]);
    if (i + 3 < bytes.size() && bytes[i] == '\\' && bytes[i + 1] == 'x' && is_digit(bytes[i + 2]) &&
        is_digit(bytes[i + 3])) {
      unambiguous += "x5c";
    }
  }
  return EscapeNonUtf8(unambiguous);
}

absl::string_view Utf8Prefix(absl::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace vmeventd
