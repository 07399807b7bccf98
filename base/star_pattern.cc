#include "base/star_pattern.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace vmeventd {

std::optional<absl::string_view> MatchStar(absl::string_view pattern, absl::string_view name) {
  const size_t star = pattern.find('*');
  if (star == absl::string_view::npos) return name == pattern ? std::optional(name) : std::nullopt;
  if (name.size() < pattern.size() || !absl::ConsumePrefix(&name, pattern.substr(0, star)) ||
      !absl::ConsumeSuffix(&name, pattern.substr(star + 1))) {
    return std::nullopt;
  }
  return name;
}

bool StarsOverlap(absl::string_view a, absl::string_view b) {
  if (!absl::StrContains(a, '*')) return MatchStar(b, a).has_value();
  if (!absl::StrContains(b, '*')) return MatchStar(a, b).has_value();
  const std::pair<absl::string_view, absl::string_view> of_a = absl::StrSplit(a, '*');
  const std::pair<absl::string_view, absl::string_view> of_b = absl::StrSplit(b, '*');
  const size_t begin = std::min(of_a.first.size(), of_b.first.size());
  const size_t end = std::min(of_a.second.size(), of_b.second.size());
  return of_a.first.substr(0, begin) == of_b.first.substr(0, begin) &&
         of_a.second.substr(of_a.second.size() - end) ==
             of_b.second.substr(of_b.second.size() - end);
}

}  // namespace vmeventd
