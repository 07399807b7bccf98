#pragma once

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/options/reading.h"
#include "client/sinks/sink_table.h"

// The parser of the command line, by CLI11.

namespace vmeventd::client {

// Defines all commands and options, with their help. They write to `reading`. `watch` and `push`
// get the options of `sinks`. `reading` and `sinks` must outlive `app`.
void Define(CLI::App* app, Reading* reading, const SinkTable& sinks);

// Parses the arguments; throws CLI11's errors and OptionErrors.
void Parse(CLI::App* app, std::vector<std::string> arguments);

}  // namespace vmeventd::client
