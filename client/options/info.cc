#include "client/commands/info.h"

#include "CLI/CLI.hpp"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/reading.h"

namespace vmeventd::client {

void AddInfo(CLI::App* program, Reading* reading) {
  AddNode(Add<InfoCommand>(program, reading, "info", "Show vmeventd's own state").first, reading);
}

}  // namespace vmeventd::client
