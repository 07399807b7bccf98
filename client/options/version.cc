#include "CLI/CLI.hpp"
#include "client/options/commands.h"
#include "client/options/common.h"

namespace vmeventd::client {

void AddVersion(CLI::App* program) { AddCommand(program, "version", "Print the version"); }

}  // namespace vmeventd::client
