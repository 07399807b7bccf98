#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Patterns by which people choose VMs: shell patterns, and conditions on labels.

namespace vmeventd {

// Returns whether a pattern has a wildcard.
inline bool IsGlob(absl::string_view pattern) {
  return pattern.find_first_of("*?[") != absl::string_view::npos;
}

// A shell pattern: * ? [set] [!set], of bytes. A bracket that is never closed matches itself.
// Immutable; any thread.
class Glob {
 public:
  explicit Glob(absl::string_view pattern);

  // Returns whether `text` as a whole matches. Looks at no more than (n + 1) * (m + 1) bytes for a
  // pattern of n and a text of m bytes, and adds their number to `steps`, for tests.
  bool Matches(absl::string_view text, size_t* steps = nullptr) const;

 private:
  // Consumes the element at `*at`, which is no star. Returns whether it matches `c`.
  bool TakeElement(size_t* at, char c) const;

  std::string pattern_;
  size_t brackets_end_;  // offset after the last "]"
};

// Returns whether `pattern`, a name or a shell pattern, matches `name`. A name may contain
// wildcards.
inline bool MatchesName(absl::string_view pattern, absl::string_view name) {
  return pattern == name || Glob(pattern).Matches(name);
}

// Returns the text that the '*' of `pattern` stands for in `name`. '*' is the only wildcard, and
// occurs at most once; a pattern without one matches only itself. Unset if they do not match, or
// that text would be empty.
std::optional<absl::string_view> MatchStar(absl::string_view pattern, absl::string_view name);

// Returns whether a name may match both of two such patterns.
bool StarsOverlap(absl::string_view a, absl::string_view b);

// Returns the pattern that matches only `text`.
std::string PatternFor(absl::string_view text);

inline constexpr size_t kMaxLabels = 16;  // limit per VM
inline constexpr size_t kMaxLabelKeyBytes = 63;
inline constexpr size_t kMaxLabelValueBytes = 128;

// Returns whether `key` can be a label's: not empty, not too long, only letters, digits and "._-/".
bool IsLabelKey(absl::string_view key);

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

  // The keys that it wants a VM to have.
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
