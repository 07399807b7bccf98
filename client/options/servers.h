#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "client/options/command_line.h"
#include "client/options/reading.h"

// The servers of a command line, from its options, the environment and the contexts.

namespace vmeventd::client {

// Checks whether the command, the kind of its servers and their number fit each other. `origin` is
// the option, variable or context that named the servers.
void CheckServers(const CLI::App& command, const CommandLine& line, const std::string& origin);

// Sets the servers or the fleet of the line, from the options, the environment and the contexts.
// Checks whether they fit the command. Call it after Parse().
void ReadServers(CLI::App* app, Reading* reading);

}  // namespace vmeventd::client
