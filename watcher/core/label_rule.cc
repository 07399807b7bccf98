#include "watcher/core/label_rule.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/glob.h"
#include "base/labels.h"
#include "base/quote.h"
#include "watcher/core/foreign_text.h"

namespace vmeventd {
std::string LabelRule::text() const {
  return absl::StrCat(pattern, ":", absl::StrJoin(labels, ",", absl::PairFormatter("=")));
}

absl::StatusOr<LabelRule> ParseLabelRule(absl::string_view text) {
  const size_t colon = text.substr(0, text.find('=')).rfind(':');
  if (colon == text.npos || colon == 0) {
    return InvalidText(text, "is not PATTERN:KEY=VALUE, such as web*:app=web");
  }
  LabelRule rule{.pattern = std::string(text.substr(0, colon))};
  for (const absl::string_view one : absl::StrSplit(text.substr(colon + 1), ',')) {
    const std::pair<absl::string_view, absl::string_view> label =
        absl::StrSplit(one, absl::MaxSplits('=', 1));
    if (one.find('=') == one.npos || !IsLabelKey(label.first)) {
      return InvalidText(text,
                         absl::StrCat("has the label ", Quote(one),
                                      ", which is not KEY=VALUE with a key of letters, digits and "
                                      "\"._-/\", at most ",
                                      kMaxLabelKeyBytes, " of them"));
    }
    if (label.second.size() > kMaxLabelValueBytes || OneLine(label.second) != label.second) {
      return InvalidText(text, absl::StrCat("has a value that is not one line of UTF-8 of at most ",
                                            kMaxLabelValueBytes, " bytes"));
    }
    rule.labels.emplace_back(label);
  }
  if (rule.labels.size() > kMaxLabels) {
    return InvalidText(text, absl::StrCat("has more than ", kMaxLabels, " labels"));
  }
  return rule;
}

Labels WithRules(const std::vector<LabelRule>& rules, absl::string_view name, const Labels& own) {
  std::map<std::string, std::string> all(own.begin(), own.end());
  for (const LabelRule& rule : rules) {
    if (!MatchesName(rule.pattern, name)) continue;
    for (const auto& label : rule.labels) {
      if (all.size() < kMaxLabels) all.insert(label);
    }
  }
  return {all.begin(), all.end()};
}

}  // namespace vmeventd
