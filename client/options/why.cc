#include "client/commands/why.h"

#include <string>

#include "CLI/CLI.hpp"
#include "client/cli/option.h"
#include "client/cli/option_error.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/reading.h"
#include "client/options/time_options.h"

namespace vmeventd::client {

void AddWhy(CLI::App* program, Reading* reading) {
  const auto check = [reading](WhyCommand* why) {
    if (why->filter.ByteSizeLong() == 0 && !why->is_of_ends()) {
      Wrong("why: which VM? Write `vmevents why NAME`");
    }
    CheckTimes(reading->context, why->since, why->until);
  };
  const auto [app, command] =
      Add<WhyCommand>(program, reading, "why", "Show why VMs ended, and what they do now", check);
  app->alias("vm")->alias("describe");
  AddNode(app, reading);
  AddNames(app, &command->filter);
  AddEnds(app, &command->filter);
  AddTimes(app, reading, "show each end at or after this time, not only the last",
           "show each end before this time", &command->since, &command->until);
  AddFlag(app, "--markdown", "print Markdown, for a ticket", &command->markdown);
}

}  // namespace vmeventd::client
