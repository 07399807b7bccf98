#include "base/label_selector.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/labels.h"

namespace vmeventd {
namespace {

constexpr char kForms[] = "write conditions as app=web, app!=web, app or !app, separated by commas";

// Takes the text up to the first comma without a backslash before it, and that comma, from `rest`.
// Returns the text without the comma.
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

absl::StatusOr<LabelSelector> LabelSelector::Parse(absl::string_view text) {
  LabelSelector selector;
  // After a comma at the end there is one more condition, an empty one.
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
