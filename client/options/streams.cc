#include "client/commands/streams.h"

#include "CLI/CLI.hpp"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/reading.h"

namespace vmeventd::client {

void AddStreams(CLI::App* program, Reading* reading) {
  Add<StreamsCommand>(program, reading, "streams",
                      "List who follows events, and how far each lags");
}

}  // namespace vmeventd::client
