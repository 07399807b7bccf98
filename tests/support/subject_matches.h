#pragma once

#include "absl/strings/string_view.h"

namespace vmeventd::client {

// Returns whether a subject matches a pattern with * and >.
bool SubjectMatches(absl::string_view pattern, absl::string_view subject);

}  // namespace vmeventd::client
