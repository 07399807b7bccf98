#include "base/duration_text.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kDay = absl::Hours(24);

struct Unit {
  absl::string_view name;
  absl::Duration length;
};

// The first match wins, so "ms" stands before "m".
const Unit kUnits[] = {
    {"ms", absl::Milliseconds(1)},
    {"us", absl::Microseconds(1)},
    {"ns", absl::Nanoseconds(1)},
    {"w", 7 * kDay},
    {"d", kDay},
    {"h", absl::Hours(1)},
    {"m", absl::Minutes(1)},
    {"s", absl::Seconds(1)},
};

// Takes a number and its unit off the front of `text`.
std::optional<absl::Duration> TakeTerm(absl::string_view* text) {
  size_t digits = 0;
  while (digits < text->size() &&
         (absl::ascii_isdigit((*text)[digits]) || (*text)[digits] == '.')) {
    ++digits;
  }
  const absl::string_view number = text->substr(0, digits);
  text->remove_prefix(digits);
  int64_t whole = 0;
  double fraction = 0;
  const bool is_whole = absl::SimpleAtoi(number, &whole);
  if (!is_whole && !absl::SimpleAtod(number, &fraction)) return std::nullopt;
  for (const Unit& unit : kUnits) {
    if (!absl::ConsumePrefix(text, unit.name)) continue;
    return is_whole ? whole * unit.length : fraction * unit.length;
  }
  return std::nullopt;
}

}  // namespace

std::optional<absl::Duration> ParseDuration(absl::string_view text) {
  absl::ConsumePrefix(&text, "+");
  if (text.empty()) return std::nullopt;
  absl::Duration sum;
  while (!text.empty()) {
    const std::optional<absl::Duration> term = TakeTerm(&text);
    if (!term.has_value()) return std::nullopt;
    sum += *term;
  }
  return sum;
}

std::string PrintDuration(absl::Duration duration) {
  if (duration >= kDay && duration % kDay == absl::ZeroDuration()) {
    return absl::StrCat(duration / kDay, "d");
  }
  return absl::FormatDuration(duration);
}

}  // namespace vmeventd
