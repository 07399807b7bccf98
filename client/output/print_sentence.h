#pragma once

#include <functional>
#include <string>

namespace vmeventd::client {

// Prints a sentence, which is safe for a terminal, to standard error.
using PrintSentence = std::function<void(const std::string&)>;

}  // namespace vmeventd::client
