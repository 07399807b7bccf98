#include "CLI/CLI.hpp"
#include "client/options/add_command.h"
#include "client/options/command_line.h"
#include "client/options/commands.h"
#include "client/options/reading.h"

namespace vmeventd::client {

void AddDoctor(CLI::App* program, Reading* reading) {
  Add<DoctorCommand>(program, reading, "doctor", "Find what prevents vmeventd from following VMs");
}

}  // namespace vmeventd::client
