#pragma once

#include <vector>

#include "CLI/CLI.hpp"
#include "client/options/option_context.h"
#include "client/sinks/follow_command.h"
#include "client/sources/watch_command.h"

// Options of the commands that follow events. The objects behind pointers must outlive the
// CLI::App.

namespace vmeventd::client {

// Adds --from, --journal and --since.
void AddStart(CLI::App* app, const char* from_help, const OptionContext* context,
              WatchStart* start);

// Adds --timeout and --cursor-file, and returns them.
std::vector<CLI::Option*> AddFollow(CLI::App* app, FollowCommand* command);

}  // namespace vmeventd::client
