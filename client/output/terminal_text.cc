#include "client/output/terminal_text.h"

#include <algorithm>
#include <clocale>
#include <cstdint>
#include <cwchar>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/utf8.h"

namespace vmeventd::client {
namespace {

std::string EscapeCharacter(uint32_t code_point) {
  if (code_point < 0x80) return absl::StrFormat("\\x%02x", code_point);
  if (code_point <= 0xFFFF) return absl::StrFormat("\\u%04x", code_point);
  return absl::StrFormat("\\U%08x", code_point);
}

// The bytes of the characters at the beginning that take at most `width` columns.
size_t BytesOf(absl::string_view text, size_t width) {
  size_t bytes = 0;
  for (size_t used = 0; bytes < text.size();) {
    const size_t length = std::max<size_t>(DecodeUtf8(text.substr(bytes)).length, 1);
    used += DisplayWidth(text.substr(bytes, length));
    if (used > width) break;
    bytes += length;
  }
  return bytes;
}

}  // namespace

std::string EscapeForTerminal(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Character character = DecodeUtf8(text);
    if (character.length == 0) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(text[0]));
    } else if (IsHiddenCharacter(character.code_point)) {
      out += EscapeCharacter(character.code_point);
    } else {
      out.append(text.data(), character.length);
    }
    text.remove_prefix(std::max<size_t>(character.length, 1));
  }
  return out;
}

size_t DisplayWidth(absl::string_view text) {
  // wcwidth(3) follows the thread's locale, which this program leaves at "C".
  static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  const locale_t previous = utf8 == nullptr ? nullptr : uselocale(utf8);
  size_t width = 0;
  while (!text.empty()) {
    const Utf8Character character = DecodeUtf8(text);
    const int columns = utf8 == nullptr ? 1 : wcwidth(static_cast<wchar_t>(character.code_point));
    width += columns < 0 ? 1 : static_cast<size_t>(columns);
    text.remove_prefix(std::max<size_t>(character.length, 1));
  }
  if (utf8 != nullptr) uselocale(previous);
  return width;
}

std::string CutText(absl::string_view text, size_t width, bool middle) {
  const size_t all = DisplayWidth(text);
  if (all <= width) return std::string(text);
  if (width == 0) return "";
  const size_t tail = middle && width > 2 ? (width - 1) / 2 : 0;
  size_t from = tail == 0 ? text.size() : BytesOf(text, all - tail);
  // Half of a wide character.
  while (DisplayWidth(text.substr(from)) > tail) {
    from += std::max<size_t>(DecodeUtf8(text.substr(from)).length, 1);
  }
  return absl::StrCat(text.substr(0, BytesOf(text, width - 1 - tail)), "\u2026", text.substr(from));
}

std::vector<std::string> WrapText(absl::string_view text, size_t width) {
  std::vector<std::string> lines(1);
  size_t used = 0;
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    const size_t columns = DisplayWidth(word);
    if (used > 0 && used + 1 + columns > width) {
      lines.emplace_back();
      used = 0;
    }
    absl::StrAppend(&lines.back(), used > 0 ? " " : "", word);
    used += columns + (used > 0 ? 1 : 0);
  }
  return lines;
}

}  // namespace vmeventd::client
