#include "CLI/CLI.hpp"
#include "client/cli/option.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/reading.h"
#include "client/sources/daemon_health.h"

namespace vmeventd::client {

void AddHealth(CLI::App* program, Reading* reading) {
  const auto [app, health] =
      Add<HealthCommand>(program, reading, "health", "Check whether vmeventd is serving");
  AddNode(app, reading);
  CLI::Option* service =
      AddValue(app, "SERVICE", "", "check only this service (default the server as a whole)",
               &health->service);
  AddFlag(app, "--all", "check the server as a whole and each service, one per line", &health->all)
      ->excludes(service);
  AddValue(app, "--timeout", "DURATION",
           "how long to wait for each response, such as 1s (default 5s)", &health->timeout);
}

}  // namespace vmeventd::client
