#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// The values that options accept, as users type them.

namespace vmeventd::client {

// Returns the values of an option or an argument, as typed: "guest-down". `value_name` is the name
// of the value in the help. Empty: any text is accepted.
std::vector<std::string> ValuesOf(const std::string& value_name);

// Completes the error about a value that an option does not accept, such as "; did you mean
// stopped?". Empty: no value is similar.
std::string HintForValue(const std::string& value_name, absl::string_view typed);

}  // namespace vmeventd::client
