#include "base/patterns.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace vmeventd {
namespace {

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

std::vector<std::string> LabelSelector::wanted_keys() const {
  std::vector<std::string> keys;
  for (const Condition& condition : conditions_) {
    if (!condition.negated) keys.push_back(condition.key);
  }
  return keys;
}

}  // namespace vmeventd
