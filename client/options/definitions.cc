#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/option.h"
#include "client/options/commands.h"
#include "client/options/common.h"
#include "client/options/help.h"
#include "client/options/parser.h"
#include "client/options/reading.h"
#include "client/sinks/sinks.h"

// The program: its commands in the order of the help. Those with options have a file of their name.

namespace vmeventd::client {

void Define(CLI::App* app, Reading* reading, const SinkTable& sinks) {
  app->formatter(MakeHelpFormatter());
  app->description("Shows who ended the virtual machines of a node, and how vmeventd knows.");
  app->set_version_flag("--version", absl::StrCat("vmevents ", VMEVENTD_VERSION));
  app->require_subcommand(1);
  AddGeneral(app, reading);
  AddWatch(app, reading, sinks);
  AddPush(app, reading, sinks);
  AddWeb(app, reading);
  AddEvents(app, reading);
  AddVms(app, reading);
  AddWhy(app, reading);
  AddStats(app, reading);
  AddStatus(app, reading);
  AddTop(app, reading);
  AddFleet(app, reading);
  AddIntent(app, reading);
  AddNode(Add<InfoCommand>(app, reading, "info", "Show vmeventd's own state").first, reading);
  Add<StreamsCommand>(app, reading, "streams", "List who follows events, and how far each lags");
  AddHealth(app, reading);
  Add<DoctorCommand>(app, reading, "doctor", "Find what prevents vmeventd from following VMs");
  Add<ProxyCommand>(app, reading, "proxy", "Connect standard input and output to vmeventd's socket")
      .first->group("");
  CLI::App* help = AddCommand(app, "help", "Explain a command");
  AddList(help, "COMMAND", "", "the command", [](const std::string& /*text*/) {});
  AddCommand(app, "version", "Print the version");
  CLI::App* completion = AddCommand(app, "completion", "Print the completion script of a shell");
  CLI::Option* shell = AddChoice(completion, "SHELL", "SHELL", "bash, zsh or fish (default $SHELL)",
                                 &reading->shell);
  completion->callback([=] {
    if (!shell->empty()) return;
    const std::string named = reading->context.variable("SHELL");
    reading->shell = ReadChoice("SHELL", named.substr(named.rfind('/') + 1));
  });
}

}  // namespace vmeventd::client
