#include "base/duration_text.h"

#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kDay = absl::Hours(24);

}  // namespace

std::optional<absl::Duration> ParseDuration(absl::string_view text) {
  absl::ConsumePrefix(&text, "+");
  // Abseil's form, and weeks and days before it.
  if (text.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(text.back())) ||
      text.find_first_not_of("0123456789.wdhmsun") != absl::string_view::npos) {
    return std::nullopt;
  }
  absl::Duration sum;
  while (true) {
    const size_t at = text.find_first_of("wdhmsun");
    if (text[at] != 'w' && text[at] != 'd') break;
    double days = 0;
    if (!absl::SimpleAtod(text.substr(0, at), &days)) return std::nullopt;
    sum += days * (text[at] == 'w' ? 7 : 1) * kDay;
    text.remove_prefix(at + 1);
    if (text.empty()) return sum;
  }
  absl::Duration rest;
  if (!absl::ParseDuration(text, &rest)) return std::nullopt;
  return sum + rest;
}

std::string PrintDuration(absl::Duration duration) {
  if (duration >= kDay && duration % kDay == absl::ZeroDuration()) {
    return absl::StrCat(duration / kDay, "d");
  }
  return absl::FormatDuration(duration);
}

}  // namespace vmeventd
