#include "base/patterns.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace vmeventd {
namespace {

// Limit of a pattern's elements; beyond it, the pattern is cut. No name is as long, so it matches
// none.
constexpr size_t kMaxElements = 65'000;

constexpr char kForms[] = "write conditions as app=web, app!=web, app or !app, separated by commas";

// The text up to the first comma that no backslash precedes, which is taken from `rest` with it.
absl::string_view TakeCondition(absl::string_view* rest) {
  size_t at = 0;
  while (at < rest->size() && (*rest)[at] != ',') at += (*rest)[at] == '\\' ? 2 : 1;
  at = std::min(at, rest->size());
  const absl::string_view condition = rest->substr(0, at);
  rest->remove_prefix(std::min(at + 1, rest->size()));
  return condition;
}

std::string Unescaped(absl::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const bool escapes =
        text[at] == '\\' && at + 1 < text.size() && (text[at + 1] == ',' || text[at + 1] == '\\');
    if (escapes) ++at;
    out += text[at];
  }
  return out;
}

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

bool IsLabelKey(absl::string_view key) {
  return !key.empty() && key.size() <= kMaxLabelKeyBytes &&
         std::all_of(key.begin(), key.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                  absl::string_view("._-/").find(c) != absl::string_view::npos;
         });
}

absl::StatusOr<LabelSelector> LabelSelector::Parse(absl::string_view text) {
  LabelSelector selector;
  // A comma at the end stands before an empty condition.
  bool more = true;
  while (more) {
    const size_t before = text.size();
    absl::string_view rest = TakeCondition(&text);
    more = before > rest.size();
    rest = absl::StripAsciiWhitespace(rest);
    if (rest.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("has an empty condition; ", kForms));
    }
    Condition condition;
    const size_t equals = rest.find('=');
    absl::string_view key = rest.substr(0, equals);
    if (equals == absl::string_view::npos) {
      condition.negated = absl::ConsumePrefix(&key, "!");
    } else {
      condition.negated = absl::ConsumeSuffix(&key, "!");
      rest.remove_prefix(equals + 1);
      absl::ConsumePrefix(&rest, "=");  // "==", as kubectl has it too
      condition.value = Unescaped(absl::StripLeadingAsciiWhitespace(rest));
    }
    condition.key = std::string(absl::StripAsciiWhitespace(key));
    if (!IsLabelKey(condition.key)) {
      return absl::InvalidArgumentError(
          absl::StrCat("has a condition whose key is not 1 to ", kMaxLabelKeyBytes,
                       " letters, digits, \".\", \"_\", \"-\" and \"/\"; ", kForms));
    }
    if (selector.conditions_.size() == kMaxConditions) {
      return absl::InvalidArgumentError(
          absl::StrCat("has more than ", kMaxConditions, " conditions"));
    }
    selector.conditions_.push_back(std::move(condition));
  }
  return selector;
}

bool LabelSelector::Matches(ValueOf value_of) const {
  return std::all_of(conditions_.begin(), conditions_.end(), [&](const Condition& condition) {
    const std::optional<absl::string_view> found = value_of(condition.key);
    const bool holds =
        found.has_value() && (!condition.value.has_value() || *condition.value == *found);
    return holds != condition.negated;
  });
}

size_t LabelSelector::memory() const {
  size_t bytes = conditions_.capacity() * sizeof(Condition);
  for (const Condition& condition : conditions_) {
    bytes += condition.key.capacity();
    if (condition.value.has_value()) bytes += condition.value->capacity();
  }
  return bytes;
}

}  // namespace vmeventd
