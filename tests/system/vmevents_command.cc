#include "tests/system/vmevents_command.h"

#include "tests/support/programs.h"

namespace vmeventd::e2e {

std::vector<std::string> VmeventsCommand(const std::string& server,
                                         const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {ProgramPath("vmevents"), "--server", server};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

}  // namespace vmeventd::e2e
