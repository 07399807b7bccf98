#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "base/glob.h"

namespace vmeventd {

// A list of patterns for names, of VMs or of sources, prepared for many lookups. An entry that
// equals a name matches it, even if it contains wildcards. An empty list matches every name.
// Immutable; any thread.
class NameMatcher {
 public:
  NameMatcher() = default;
  template <typename Patterns>
  explicit NameMatcher(const Patterns& patterns) {
    for (const std::string& pattern : patterns) {
      exact_.insert(pattern);
      if (IsGlob(pattern)) globs_.emplace_back(pattern);
    }
  }

  bool Matches(absl::string_view name) const {
    if (matches_all() || exact_.contains(name)) return true;
    return std::any_of(globs_.begin(), globs_.end(),
                       [&](const Glob& glob) { return glob.Matches(name); });
  }
  bool matches_all() const { return exact_.empty(); }
  // Returns the names, if no pattern has a wildcard; null: other names may match.
  const absl::flat_hash_set<std::string>* exact() const {
    return globs_.empty() && !exact_.empty() ? &exact_ : nullptr;
  }

 private:
  absl::flat_hash_set<std::string> exact_;
  std::vector<Glob> globs_;
};

}  // namespace vmeventd
