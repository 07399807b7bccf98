#include "absl/strings/str_cat.h"
#include "client/options/commands.h"
#include "client/options/help.h"
#include "client/options/parser.h"
#include "client/options/reading.h"
#include "client/sinks/sink_table.h"

// The program: its commands in the order of the help.

namespace vmeventd::client {

void Define(CLI::App* app, Reading* reading, const SinkTable& sinks) {
  app->formatter(MakeHelpFormatter(sinks));
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
  AddInfo(app, reading);
  AddStreams(app, reading);
  AddHealth(app, reading);
  AddDoctor(app, reading);
  AddProxy(app, reading);
  AddHelp(app);
  AddVersion(app);
  AddCompletion(app, reading);
}

}  // namespace vmeventd::client
