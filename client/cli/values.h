#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// The values that options take, as they are typed.

namespace vmeventd::client {

// The values of an option or an argument, as typed: "guest-down". `value_name` is the name that the
// help gives the value. Empty: any text.
std::vector<std::string> ValuesOf(const std::string& value_name);

// Completes a complaint about a value that an option does not take, as "; did you mean stopped?"
// does. Empty: nothing comes close.
std::string HintForValue(const std::string& value_name, absl::string_view typed);

}  // namespace vmeventd::client
