#include "base/uuid.h"

#include <cstddef>

#include "absl/strings/ascii.h"

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

}  // namespace vmeventd
