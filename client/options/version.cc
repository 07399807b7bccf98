#include "CLI/CLI.hpp"
#include "client/options/add_command.h"
#include "client/options/commands.h"

namespace vmeventd::client {

void AddVersion(CLI::App* program) { AddCommand(program, "version", "Print the version"); }

}  // namespace vmeventd::client
