#include "client/output/painter.h"

#include <array>
#include <cstddef>

#include "absl/strings/str_cat.h"

namespace vmeventd::client {
namespace {

constexpr std::array kColorCodes = {"", "1", "2", "1;31", "32", "33", "34", "36"};  // by Color

}  // namespace

std::string Painter::Paint(absl::string_view text, Color color) const {
  if (!enabled_ || color == Color::kNone || text.empty()) return std::string(text);
  return absl::StrCat("\x1b[", kColorCodes[static_cast<size_t>(color)], "m", text, "\x1b[0m");
}

}  // namespace vmeventd::client
