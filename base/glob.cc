#include "base/glob.h"

#include <algorithm>

namespace vmeventd {
namespace {

// Limit of a pattern's elements; beyond it, the pattern is cut. No name is as long, so it matches
// none.
constexpr size_t kMaxElements = 65'000;

}  // namespace

Glob::Glob(absl::string_view pattern) {
  const auto here = [this] { return static_cast<uint16_t>(elements_.size()); };
  uint16_t begin = 0;
  bool closes = true;  // no bracket closes after one that does not
  bool star = false;
  while (!pattern.empty() && elements_.size() < kMaxElements) {
    size_t length = 1;
    if (pattern[0] == '*') {
      if (!star) parts_.push_back({begin, here()});
      begin = here();
      star = true;
      pattern.remove_prefix(1);
      continue;
    }
    star = false;
    if (pattern[0] == '?') {
      elements_.push_back({Element::Kind::kAny, 0, 0});
    } else {
      const bool bracket = pattern[0] == '[' && closes;
      if (bracket) length = AddBracket(pattern);
      if (bracket && length == 0) closes = false;
      if (!bracket || length == 0) {
        elements_.push_back({Element::Kind::kByte, static_cast<uint8_t>(pattern[0]), 0});
        length = 1;
      }
    }
    pattern.remove_prefix(length);
  }
  parts_.push_back({begin, here()});
}

size_t Glob::AddBracket(absl::string_view pattern) {
  const auto byte = [pattern](size_t i) { return static_cast<uint8_t>(pattern[i]); };
  size_t i = 1;
  const bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  Set set;
  const size_t first = i;
  for (; i < pattern.size() && (pattern[i] != ']' || i == first); ++i) {
    if (i + 2 < pattern.size() && pattern[i + 1] == '-' && pattern[i + 2] != ']') {
      for (unsigned c = byte(i); c <= byte(i + 2); ++c) set.set(c);
      i += 2;
    } else {
      set.set(byte(i));
    }
  }
  if (i >= pattern.size()) return 0;
  if (negated) set.flip();
  const auto found = std::find(sets_.begin(), sets_.end(), set);
  const auto index = static_cast<uint16_t>(found - sets_.begin());
  if (found == sets_.end()) sets_.push_back(set);
  elements_.push_back({Element::Kind::kSet, 0, index});
  return i + 1;
}

bool Glob::Fits(const Part& part, absl::string_view text, size_t* steps) const {
  for (size_t i = 0; i < part.size(); ++i) {
    ++*steps;
    const Element& element = elements_[part.begin + i];
    const auto byte = static_cast<uint8_t>(text[i]);
    if (element.kind == Element::Kind::kByte && element.byte != byte) return false;
    if (element.kind == Element::Kind::kSet && !sets_[element.set].test(byte)) return false;
  }
  return true;
}

bool Glob::Matches(absl::string_view text, size_t* steps) const {
  ++*steps;
  if (elements_.size() > text.size()) return false;
  const Part& head = parts_.front();
  if (parts_.size() == 1) return head.size() == text.size() && Fits(head, text, steps);
  if (!Fits(head, text, steps)) return false;
  const Part& tail = parts_.back();
  if (!Fits(tail, text.substr(text.size() - tail.size()), steps)) return false;
  // The rest, for the parts between: all of it fits, for there are enough bytes.
  text = text.substr(head.size(), text.size() - head.size() - tail.size());
  for (size_t i = 1; i + 1 < parts_.size(); ++i) {
    const Part& part = parts_[i];
    while (part.size() <= text.size() && !Fits(part, text, steps)) text.remove_prefix(1);
    if (part.size() > text.size()) return false;
    text.remove_prefix(part.size());
  }
  return true;
}

size_t Glob::memory() const {
  return sizeof(*this) + elements_.capacity() * sizeof(Element) + parts_.capacity() * sizeof(Part) +
         sets_.capacity() * sizeof(Set);
}

}  // namespace vmeventd
