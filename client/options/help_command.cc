#include <string>

#include "CLI/CLI.hpp"
#include "client/cli/option.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"

namespace vmeventd::client {

void AddHelp(CLI::App* program) {
  CLI::App* const help = AddCommand(program, "help", "Explain a command");
  AddList(help, "COMMAND", "", "the command", [](const std::string& /*text*/) {});
}

}  // namespace vmeventd::client
