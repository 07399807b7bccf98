#include "client/commands/top.h"

#include "CLI/CLI.hpp"
#include "client/cli/option.h"
#include "client/cli/option_error.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/reading.h"

namespace vmeventd::client {

void AddTop(CLI::App* program, Reading* reading) {
  const auto check = [=](TopCommand* /*top*/) {
    if (!reading->line.for_people())
      Wrong("top is for people; use info, vms or events", "--output");
  };
  const auto [app, command] =
      Add<TopCommand>(program, reading, "top", "Watch the VMs of a node on a terminal", check);
  AddNode(app, reading);
  AddValue(app, "--interval", "DURATION", "interval between frames (default 2s)",
           &command->interval);
  AddValue(app, "--window", "DURATION", "time over which ends are counted (default 15m)",
           &command->window);
  AddFlag(app, "--once", "print one frame", &command->once);
}

}  // namespace vmeventd::client
