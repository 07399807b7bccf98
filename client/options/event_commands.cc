#include <algorithm>
#include <cstdint>
#include <optional>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "client/options/commands.h"
#include "client/options/option_values.h"

namespace vmeventd::client {
namespace {

// Of --last, which keeps its events in memory.
constexpr uint64_t kMostLast = 100'000;

absl::Status SetCursorFile(const CLI::App& app, const RawOptions& raw, FollowCommand* command) {
  if (app.count("--cursor-file") > 0 && raw.cursor_file.empty()) {
    return absl::InvalidArgumentError("--cursor-file: the text is empty; name a file");
  }
  command->cursor_file = raw.cursor_file;
  return absl::OkStatus();
}

absl::Status SetExec(const CLI::App& app, const RawOptions& raw, FollowCommand* command) {
  if (app.count("--exec") > 0 && raw.exec.empty()) {
    return absl::InvalidArgumentError("--exec: the text is empty; give a command");
  }
  if (app.count("--exec-on-failure") > 0 && raw.exec.empty()) {
    return absl::InvalidArgumentError(
        "--exec-on-failure: belongs to a command; use it with --exec COMMAND");
  }
  if (raw.exec_gaps && raw.exec.empty()) {
    return absl::InvalidArgumentError(
        "--exec-gaps: belongs to a command; use it with --exec COMMAND");
  }
  command->exec = raw.exec;
  if (raw.on_failure == "retry") {
    command->on_failure = OnFailure::kRetry;
  } else if (raw.on_failure == "skip") {
    command->on_failure = OnFailure::kSkip;
  } else if (raw.on_failure != "stop") {
    return absl::InvalidArgumentError(absl::StrCat("--exec-on-failure: \"", raw.on_failure,
                                                   "\" is not an action; use stop, retry or skip"));
  }
  return absl::OkStatus();
}

// A GAP of the node passes every filter: whether it was asked for.
bool AskedForGaps(const v1::EventFilter& filter, const RawOptions& raw) {
  const auto& types = filter.types();
  if (std::find(types.begin(), types.end(), v1::EVENT_TYPE_GAP) != types.end()) return true;
  if (!raw.exec.empty()) return raw.exec_gaps;
  return filter.ByteSizeLong() == 0;
}

absl::StatusOr<WatchStart> MakeStart(const CLI::App& app, const RawOptions& raw,
                                     const OptionContext& context) {
  if (app.count("--from") > 0 && raw.from.empty()) {
    return absl::InvalidArgumentError(
        "--from: the text is empty; give a sequence number, oldest, snapshot or a time");
  }
  if (app.count("--journal") > 0 && raw.journal.empty()) {
    return absl::InvalidArgumentError(
        "--journal: the text is empty; `vmevents info` shows the journal's id");
  }
  const auto since =
      ParseTimeOption("--since", app.count("--since") > 0, raw.since, context.now, context.zone);
  if (!since.ok()) return since.status();
  if (!*since) return ParseWatchStart(raw.from, raw.journal, context.now, context.zone);
  if (app.count("--from") > 0 || app.count("--journal") > 0) {
    return absl::InvalidArgumentError(
        "--since: --from says where to begin as well; use one of them");
  }
  return FromTime{**since};
}

}  // namespace

absl::StatusOr<FollowCommand> MakeWatch(const CLI::App& app, const RawOptions& raw,
                                        const OptionContext& context) {
  FollowCommand command;
  const auto start = MakeStart(app, raw, context);
  if (!start.ok()) return start.status();
  const auto filter = ParseFilter(raw.vms, raw.types, raw.classes, raw.sources);
  if (!filter.ok()) return filter.status();
  const auto count = ParseCount("--count", app.count("--count") > 0, raw.count);
  if (!count.ok()) return count.status();
  absl::Status status = SetCursorFile(app, raw, &command);
  if (status.ok()) status = SetExec(app, raw, &command);
  if (!status.ok()) return status;
  command.watch.start = *start;
  command.watch.filter = *filter;
  command.count = *count;
  command.gaps = AskedForGaps(*filter, raw);
  command.watch.resume = !raw.no_resume;
  command.watch.wait = raw.wait;
  return command;
}

absl::StatusOr<EventsCommand> MakeEvents(const CLI::App& app, const RawOptions& raw,
                                         const OptionContext& context) {
  const auto filter = ParseFilter(raw.vms, raw.types, raw.classes, raw.sources);
  if (!filter.ok()) return filter.status();
  const auto since =
      ParseTimeOption("--since", app.count("--since") > 0, raw.since, context.now, context.zone);
  if (!since.ok()) return since.status();
  const auto until =
      ParseTimeOption("--until", app.count("--until") > 0, raw.until, context.now, context.zone);
  if (!until.ok()) return until.status();
  if (*since && *until && **since >= **until) {
    return absl::InvalidArgumentError(
        "--since is not before --until, so no event can match; swap the two");
  }
  const auto limit = ParseCount("--limit", app.count("--limit") > 0, raw.limit);
  if (!limit.ok()) return limit.status();
  const auto last = ParseCount("--last", app.count("--last") > 0, raw.last);
  if (!last.ok()) return last.status();
  if (*last && *limit)
    return absl::InvalidArgumentError("--last: --limit limits the list as well; use one of them");
  if (*last && **last > kMostLast) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--last: ", **last, " is too large; give at most ", kMostLast, ", or use --since"));
  }
  EventsCommand command;
  command.filter = *filter;
  command.since = *since;
  command.until = *until;
  command.newest_first = raw.newest_first;
  command.limit = *limit;
  command.last = *last;
  return command;
}

absl::StatusOr<FollowCommand> MakeFollow(const CLI::App& app, const RawOptions& raw,
                                         const OptionContext& context) {
  const auto events = MakeEvents(app, raw, context);
  if (!events.ok()) return events.status();
  for (const char* option : {"--until", "--newest-first", "--limit"}) {
    if (app.count(option) > 0) {
      return absl::InvalidArgumentError(absl::StrCat("--follow: has no end, so that ", option,
                                                     " has no meaning; leave one of them out"));
    }
  }
  FollowCommand command;
  const absl::Status status = SetCursorFile(app, raw, &command);
  if (!status.ok()) return status;
  command.watch.filter = events->filter;
  if (events->since) {
    command.watch.start = FromTime{*events->since};
  } else {
    command.watch.start = FromOldest{};
  }
  command.last = events->last;
  return command;
}

}  // namespace vmeventd::client
