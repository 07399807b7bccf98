#include "base/uuid.h"

#include <cstddef>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/random_bytes.h"

namespace vmeventd {

std::optional<Uuid> ParseUuid(absl::string_view text) {
  constexpr size_t kLength = 36;
  if (text.size() != kLength) return std::nullopt;
  uint64_t halves[2] = {0, 0};
  int digits = 0;
  for (size_t i = 0; i < kLength; ++i) {
    const char c = absl::ascii_tolower(static_cast<unsigned char>(text[i]));
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (c != '-') return std::nullopt;
      continue;
    }
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return std::nullopt;
    const int value = c <= '9' ? c - '0' : c - 'a' + 10;
    uint64_t& half = halves[digits++ / 16];
    half = (half << 4) | static_cast<uint64_t>(value);
  }
  return Uuid(halves[0], halves[1]);
}

std::string UuidFromBytes(std::string bytes) {
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);  // version
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);  // variant
  const std::string hex = absl::BytesToHexString(bytes);
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-",
                      hex.substr(16, 4), "-", hex.substr(20));
}

std::string RandomUuid() { return UuidFromBytes(RandomBytes(16)); }

}  // namespace vmeventd
