#include "CLI/CLI.hpp"
#include "client/cli/option.h"
#include "client/options/commands.h"
#include "client/options/common.h"
#include "client/options/filter.h"
#include "client/options/parser.h"
#include "client/sources/daemon_health.h"

namespace vmeventd::client {

void AddHealth(CLI::App* program, Reading* reading) {
  const auto [app, health] =
      Add<HealthCommand>(program, reading, "health", "Ask whether vmeventd serves");
  AddNode(app, reading);
  CLI::Option* service = AddValue(app, "SERVICE", "", "one of its services", &health->service);
  AddFlag(app, "--all", "show every service, one per line", &health->all)->excludes(service);
  AddValue(app, "--timeout", "DURATION", "how long to wait for the answer, such as 1s (default 5s)",
           &health->timeout);
}

}  // namespace vmeventd::client
