#include "CLI/CLI.hpp"
#include "client/cli/option.h"
#include "client/fleet/create_fleet.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/reading.h"

namespace vmeventd::client {

void AddFleet(CLI::App* program, Reading* reading) {
  constexpr int kMaxReplicas = 5;  // JetStream's limit
  CLI::App* fleet = AddCommand(program, "fleet", "Show the nodes of a fleet");
  fleet->require_subcommand(0, 1);
  AddNode(fleet, reading);
  const auto [app, create] =
      Add<FleetCreateCommand>(fleet, reading, "create", "Make the streams of a fleet");
  AddNumber(app, "--replicas",
            "how many servers store each stream, 1 to 5 (default unchanged, and 1 for new streams)",
            kMaxReplicas, &create->replicas);
  fleet->callback([=] {
    if (fleet->get_subcommands().empty()) reading->line.command = FleetCommand{};
  });
}

}  // namespace vmeventd::client
