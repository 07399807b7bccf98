#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// Suggestions for misspelled names. Pure; any thread.

namespace vmeventd {

// Finds the name of which `typed` is a misspelling: it differs by one or two changed, added or
// missing letters; in a short word, by one. Empty: there is none.
std::string NearestName(absl::string_view typed, const std::vector<std::string>& names);

// Returns "; did you mean ANSWER?", the end of a sentence; empty if `answer` is empty. An answer
// may contain a semicolon, after which another sentence follows; that one stands alone if nothing
// is before the semicolon.
std::string DidYouMean(absl::string_view answer);

}  // namespace vmeventd
