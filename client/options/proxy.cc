#include "CLI/CLI.hpp"
#include "client/options/add_command.h"
#include "client/options/command_line.h"
#include "client/options/commands.h"
#include "client/options/reading.h"

namespace vmeventd::client {

void AddProxy(CLI::App* program, Reading* reading) {
  Add<ProxyCommand>(program, reading, "proxy",
                    "Connect standard input and output to vmeventd's socket")
      .first->group("");
}

}  // namespace vmeventd::client
