#pragma once

#include <optional>

#include "absl/strings/string_view.h"

// Patterns with at most one '*', which stands for a VM's name in a path.

namespace vmeventd {

// Returns the text that the '*' of `pattern` stands for in `name`. '*' is the only wildcard, and
// occurs at most once; a pattern without one matches only itself. Unset if they do not match, or
// that text would be empty.
std::optional<absl::string_view> MatchStar(absl::string_view pattern, absl::string_view name);

// Returns whether a name may match both of two such patterns.
bool StarsOverlap(absl::string_view a, absl::string_view b);

}  // namespace vmeventd
