#pragma once

#include <functional>
#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace vmeventd::client {

// The texts of the options that only one sink takes, by the option, such as "--exec". An option
// that is not given has no text, or an empty one.
using SinkOptions = std::map<std::string, std::string, std::less<>>;
// Returns the text of the option; empty: it is not given.
inline std::string OptionOf(const SinkOptions& options, absl::string_view option) {
  const auto found = options.find(option);
  return found == options.end() ? "" : found->second;
}

}  // namespace vmeventd::client
