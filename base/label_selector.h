#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// Conditions on the labels of a VM, all of which must hold: "app=web,tier!=db,owner,!canary".
// EventFilter.labels in the contract defines them. Immutable; any thread.
class LabelSelector {
 public:
  static constexpr size_t kMaxConditions = 16;

  // INVALID_ARGUMENT: what is wrong with `text` and what would be right, for people; follows the
  // quoted text in a sentence.
  static absl::StatusOr<LabelSelector> Parse(absl::string_view text);

  // `labels` is a map of texts.
  template <typename Labels>
  bool Matches(const Labels& labels) const {
    return std::all_of(conditions_.begin(), conditions_.end(), [&](const Condition& condition) {
      const auto found = labels.find(condition.key);
      const bool holds = found != labels.end() &&
                         (!condition.value.has_value() || *condition.value == found->second);
      return holds != condition.negated;
    });
  }

  // The keys that a VM must have.
  std::vector<std::string> wanted_keys() const;

 private:
  struct Condition {
    std::string key;
    std::optional<std::string> value;  // unset: any
    bool negated = false;
  };

  std::vector<Condition> conditions_;
};

}  // namespace vmeventd
