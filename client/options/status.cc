#include "client/commands/status.h"

#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"
#include "client/cli/option.h"
#include "client/commands/top.h"
#include "client/commands/why.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/reading.h"

namespace vmeventd::client {

void AddStatus(CLI::App* program, Reading* reading) {
  CLI::App* app = AddCommand(program, "status", "Show vmeventd's state, or why a VM ended");
  const auto why = std::make_shared<WhyCommand>();
  AddNode(app, reading);
  AddList(app, "NAME", "", "do what `why` does, for the VM with this name",
          [=](const std::string& text) { AddVmName(text, &why->filter); });
  app->callback([=] {
    if (why->filter.vm_names_size() > 0) {
      reading->line.command = *why;
    } else if (reading->line.for_people()) {
      reading->line.command = TopCommand{.window = absl::Hours(24), .once = true};
    } else {
      reading->line.command = StatusCommand{};
    }
  });
}

}  // namespace vmeventd::client
