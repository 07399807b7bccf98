#include "CLI/CLI.hpp"
#include "client/cli/option.h"
#include "client/options/commands.h"
#include "client/options/common.h"
#include "client/options/filter.h"
#include "client/options/parser.h"
#include "client/sources/source.h"

namespace vmeventd::client {

void AddWatch(CLI::App* program, Reading* reading) {
  const auto [app, command] =
      Add<FollowCommand>(program, reading, "watch", "Follow events as they happen");
  WatchCommand& watch = command->watch;
  AddStart(app, "begin after a sequence number, or at oldest, snapshot or a time; default now",
           &reading->context, &watch.start);
  AddNode(app, reading);
  AddNames(app, &watch.filter);
  AddFilter(app, &watch.filter);
  AddValue(app, "-n,--count", "N", "end after N matching events", &command->count);
  AddFollow(app, command);
  AddFlag(app, "--wait", "wait for a daemon that cannot be reached yet", &watch.wait);
  CLI::Option* exec = AddValue(app, "--exec", "COMMAND",
                               "run this for each event instead of printing it", &command->exec);
  AddChoice(app, "--exec-on-failure", "ACTION",
            "stop, retry (10 times, after 1s to 1m) or skip the event; default stop",
            &command->on_failure)
      ->needs(exec);
}

}  // namespace vmeventd::client
