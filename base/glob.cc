#include "base/glob.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
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

Glob::Glob(absl::string_view pattern) : pattern_(pattern), brackets_end_(pattern_.rfind(']') + 1) {}

bool Glob::TakeElement(size_t* at, char c) const {
  const size_t begin = (*at)++;
  if (pattern_[begin] == '?') return true;
  size_t first = begin + 1;
  const bool negated =
      first < pattern_.size() && (pattern_[first] == '!' || pattern_[first] == '^');
  if (negated) ++first;
  if (pattern_[begin] != '[' || first + 1 >= brackets_end_) return pattern_[begin] == c;
  const auto byte = static_cast<uint8_t>(c);
  bool found = false;
  size_t i = first;
  for (; pattern_[i] != ']' || i == first; ++i) {
    const auto low = static_cast<uint8_t>(pattern_[i]);
    const bool range = i + 2 < pattern_.size() && pattern_[i + 1] == '-' && pattern_[i + 2] != ']';
    if (range) i += 2;
    found = found || (low <= byte && byte <= static_cast<uint8_t>(pattern_[i]));
  }
  *at = i + 1;
  return found != negated;
}

// The part behind a star takes the first place where it fits: a later one leaves no more to match.
bool Glob::Matches(absl::string_view text, size_t* steps) const {
  size_t at = 0;
  size_t star = std::string::npos;  // behind the last one
  size_t tried = 0;                 // place in the text of the part behind it
  for (size_t i = 0; i < text.size() || at < pattern_.size();) {
    const size_t before = at;
    const bool left = at < pattern_.size();
    if (left && pattern_[at] == '*') {
      star = ++at;
      tried = i;
    } else if (left && i < text.size() && TakeElement(&at, text[i])) {
      ++i;
    } else if (star != std::string::npos && tried < text.size()) {
      if (steps != nullptr) *steps += at - before + 1;
      i = ++tried;
      at = star;
      continue;
    } else {
      return false;
    }
    if (steps != nullptr) *steps += at - before;
  }
  return true;
}

std::string PatternFor(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"*", "[*]"}, {"?", "[?]"}, {"[", "[[]"}});
}

}  // namespace vmeventd
