#pragma once

#include <memory>

#include "CLI/CLI.hpp"
#include "client/sinks/sink_table.h"

// The text of --help.

namespace vmeventd::client {

// Formats the help, and the text below the options with the paragraphs of the sinks.
std::shared_ptr<CLI::FormatterBase> MakeHelpFormatter(const SinkTable& sinks);

}  // namespace vmeventd::client
