#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"
#include "client/cli/option.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/follow_options.h"
#include "client/options/reading.h"
#include "client/options/time_options.h"
#include "client/sources/events_command.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {
namespace {

// Limit of --last, whose events are in memory.
constexpr uint64_t kMaxLast = 100'000;

// Events that --follow begins with by default.
constexpr uint64_t kUsualLast = 10;

// Adds `events`, or an alias of it that starts with the values in `begin`.
CLI::App* AddListCommand(CLI::App* program, Reading* reading, const char* name, const char* help,
                         const EventsCommand& begin = {}) {
  CLI::App* app = AddCommand(program, name, help);
  struct Options {
    EventsCommand list;
    FollowCommand follow;
    std::optional<absl::Time> since;
    std::optional<absl::Time> until;
    bool newest_first = false;
  };
  const auto options = std::make_shared<Options>();
  options->list = begin;
  EventsCommand* list = &options->list;
  CLI::Option* until = AddTimes(app, reading, "only events at or after this time",
                                "only events before this time", &options->since, &options->until);
  AddNode(app, reading);
  AddNames(app, list->request.mutable_filter());
  AddFilter(app, list->request.mutable_filter());
  CLI::Option* newest =
      AddFlag(app, "-r,--newest-first", "list the newest event first (default the oldest)",
              &options->newest_first);
  CLI::Option* last =
      AddNumber(app, "-n,--last", "only the newest N events", kMaxLast, &list->last);
  CLI::Option* limit =
      AddValue(app, "--limit", "N", "only the first N events of the list", &list->limit)
          ->excludes(last);
  CLI::Option* follow = app->add_flag("-f,-w,--follow,--watch")
                            ->description(
                                "after the list, print new events as they happen, as watch does; "
                                "the list has the newest 10 unless -n or --since is given")
                            ->excludes(until, newest, limit);
  for (CLI::Option* one : AddFollow(app, &options->follow)) one->needs(follow);
  app->callback([=] {
    CheckTimes(reading->context, options->since, options->until);
    list->SetTimes(options->since, options->until);
    if (options->newest_first) list->request.set_newest_first(true);
    if (follow->empty()) {
      reading->line.command = *list;
      return;
    }
    // With --follow: the listed history, then new events.
    FollowCommand& events = options->follow;
    events.watch.filter = list->request.filter();
    events.watch.start = options->since ? WatchStart(FromTime{*options->since}) : FromOldest{};
    events.last = list->last;
    if (!events.last && !options->since) events.last = kUsualLast;
    reading->line.command = events;
  });
  return app;
}

}  // namespace

void AddEvents(CLI::App* program, Reading* reading) {
  AddListCommand(program, reading, "events", "List events of the past")
      ->alias("logs")
      ->alias("history");
  AddListCommand(program, reading, "tail", "List the newest events", {.last = kUsualLast})
      ->group("");
  EventsCommand crashes;
  crashes.request.set_newest_first(true);
  crashes.request.mutable_filter()->add_types(v1::EVENT_TYPE_STOPPED);
  crashes.request.mutable_filter()->add_classes(v1::SHUTDOWN_CLASS_CRASH);
  AddListCommand(program, reading, "crashes", "List the VMs that crashed", crashes)->group("");
}

}  // namespace vmeventd::client
