#include "base/glob.h"

#include <cstdint>

#include "absl/strings/str_replace.h"
#include "base/star_pattern.h"

namespace vmeventd {

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

// The part after a star matches at its first position: a later one would leave less text to match.
bool Glob::Matches(absl::string_view text, size_t* steps) const {
  size_t at = 0;
  size_t star = std::string::npos;  // position after the last star of the pattern
  size_t tried = 0;                 // position in the text at which the part after it was tried
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
