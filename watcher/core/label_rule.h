#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "watcher/core/labels.h"

namespace vmeventd {

// Labels that the configuration gives VMs by their names. Pure; any thread.
struct LabelRule {
  std::string pattern;  // a name, or a glob of names
  Labels labels;

  // The text that ParseLabelRule() parses to this rule.
  std::string text() const;
  bool operator==(const LabelRule&) const = default;
};

// Parses PATTERN:KEY=VALUE[,KEY=VALUE]..., such as "web*:app=web,tier=front"; the last colon before
// the first "=" separates. INVALID_ARGUMENT names the text and what is wrong with it, for people.
absl::StatusOr<LabelRule> ParseLabelRule(absl::string_view text);

// Returns the VM's `own` labels and those of each rule whose pattern matches its name. If a key
// comes twice, the first counts. At most kMaxLabels.
Labels WithRules(const std::vector<LabelRule>& rules, absl::string_view name, const Labels& own);

}  // namespace vmeventd
