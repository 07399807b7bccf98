#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

// Shell patterns by which people choose VMs and sockets.

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

// Returns the pattern that matches only `text`.
std::string PatternFor(absl::string_view text);

}  // namespace vmeventd
