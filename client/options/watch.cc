#include "CLI/CLI.hpp"
#include "client/cli/option.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/follow_options.h"
#include "client/options/reading.h"
#include "client/sinks/follow_command.h"
#include "client/sinks/sink_table.h"
#include "client/sources/watch_command.h"

namespace vmeventd::client {

void AddWatch(CLI::App* program, Reading* reading, const SinkTable& sinks) {
  const auto choose = [program, kinds = sinks.of_watch](FollowCommand* follow) {
    const CLI::App& watch = *program->get_subcommand("watch");
    for (const WatchSinkKind* const kind : kinds) {
      if (!kind->flag.empty() && watch.count(std::string(kind->flag)) > 0) follow->sink = kind;
    }
  };
  const auto [app, command] =
      Add<FollowCommand>(program, reading, "watch", "Follow events as they happen", choose);
  WatchCommand& watch = command->watch;
  AddStart(
      app,
      "where to start: a sequence number (the events after it), a time, oldest, now, or snapshot "
      "(the VMs as they are, then events); default now",
      &reading->context, &watch.start);
  AddNode(app, reading);
  AddNames(app, &watch.filter);
  AddFilter(app, &watch.filter);
  AddValue(app, "-n,--count", "N", "end after N matching events", &command->count);
  AddFollow(app, command);
  AddFlag(app, "--wait", "if vmeventd cannot be reached at the start, wait for it", &watch.wait);
  for (const WatchSinkKind* const kind : sinks.of_watch) {
    if (kind->options != nullptr) kind->options(app, &command->sink_options);
  }
}

}  // namespace vmeventd::client
