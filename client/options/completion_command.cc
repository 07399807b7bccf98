#include <string>

#include "CLI/CLI.hpp"
#include "client/cli/option.h"
#include "client/cli/option_text.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/reading.h"

namespace vmeventd::client {

void AddCompletion(CLI::App* program, Reading* reading) {
  CLI::App* const app = AddCommand(program, "completion", "Print the completion script of a shell");
  CLI::Option* const shell =
      AddChoice(app, "SHELL", "SHELL", "bash, zsh or fish (default $SHELL)", &reading->shell);
  app->callback([=] {
    if (!shell->empty()) return;
    const std::string named = reading->context.variable("SHELL");
    reading->shell = ReadChoice("SHELL", named.substr(named.rfind('/') + 1));
  });
}

}  // namespace vmeventd::client
