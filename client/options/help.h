#pragma once

#include <memory>

#include "CLI/CLI.hpp"

// The text of --help.

namespace vmeventd::client {

// Formats the help, and the text below the options.
std::shared_ptr<CLI::FormatterBase> MakeHelpFormatter();

}  // namespace vmeventd::client
