#include "client/options/commands.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/options/hints.h"
#include "client/options/option_values.h"
#include "client/output/time_text.h"
#include "client/push/request.h"

namespace vmeventd::client {
namespace {

absl::Status Wrong(absl::string_view what) { return absl::InvalidArgumentError(what); }

// Whether it looks like the rest of a time that stands without quotes: 12:00:00, hour, ago.
bool IsPartOfTime(absl::string_view word) {
  static constexpr std::array kWords = {"ago", "s",       "sec",  "seconds", "m",
                                        "min", "minutes", "h",    "hour",    "hours",
                                        "d",   "day",     "days", "week",    "weeks"};
  if (std::find(kWords.begin(), kWords.end(), word) != kWords.end()) return true;
  return absl::StrContains(word, ':') && std::all_of(word.begin(), word.end(), [](char c) {
           return absl::ascii_isdigit(c) || c == ':' || c == '.';
         });
}

// What the options select, and the names on the command line.
absl::StatusOr<v1::EventFilter> FilterOf(const RawOptions& raw) {
  FilterTexts texts = raw.filter;
  for (const std::string& since : {raw.since, raw.until, raw.from}) {
    if (since.empty() || raw.names.empty() || !IsPartOfTime(raw.names[0])) continue;
    return Wrong(absl::StrCat("\"", raw.names[0],
                              "\" stands beside a time; put the time into "
                              "quotes: '",
                              since, " ", absl::StrJoin(raw.names, " "),
                              "'; a VM of that name is chosen with --vm"));
  }
  texts.vms.insert(texts.vms.end(), raw.names.begin(), raw.names.end());
  return ParseFilter(texts);
}

// Limit of --last, which keeps its events in memory.
constexpr uint64_t kMostLast = 100'000;
// Events that --follow begins with by default.
constexpr uint64_t kUsualLast = 10;
// Limit of --batch, and its default.
constexpr uint64_t kMostBatch = 1000;
constexpr uint64_t kUsualBatch = 100;

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
    return absl::InvalidArgumentError(absl::StrCat(
        "--exec-on-failure: \"", raw.on_failure, "\" is not an action; use stop, retry or skip",
        HintForValue("--exec-on-failure", raw.on_failure)));
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

absl::Status CheckPushTexts(const CLI::App& app) {
  for (const char* option : {"--url-file", "--secret-file", "--header-file", "--push-ca",
                             "--push-cert", "--push-key", "--state-dir", "--metrics-file"}) {
    if (app.count(option) > 0 && app.get_option(option)->as<std::string>().empty()) {
      return Wrong(absl::StrCat(option, ": the text is empty; name a file or directory"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PushCommand> MakePush(const CLI::App& app, const RawOptions& raw,
                                     const OptionContext& context) {
  PushCommand command;
  absl::Status status = CheckPushTexts(app);
  if (!status.ok()) return status;
  const auto format = ParsePushFormat(raw.format);
  if (!format.ok()) return Wrong(absl::StrCat("--format: ", format.status().message()));
  const auto start = MakeStart(app, raw, context);
  if (!start.ok()) return start.status();
  if (std::holds_alternative<FromSnapshot>(*start)) {
    return Wrong("--from: a snapshot has VMs and no events; begin with oldest, or with a time");
  }
  const auto filter = ParseFilter(raw.filter);
  if (!filter.ok()) return filter.status();
  const auto batch = ParseCount("--batch", app.count("--batch") > 0, raw.batch);
  if (!batch.ok()) return batch.status();
  if (*batch && **batch > kMostBatch) {
    return Wrong(absl::StrCat("--batch: ", **batch, " is too large; give at most ", kMostBatch));
  }
  command.batch.events = static_cast<size_t>(batch->value_or(kUsualBatch));
  command.batch.time = absl::Seconds(1);
  for (const auto& [option, text, least, most, value] :
       {std::tuple("--batch-time", &raw.batch_time, absl::Milliseconds(1), absl::Minutes(1),
                   &command.batch.time),
        std::tuple("--timeout", &raw.timeout, absl::Seconds(1), absl::Minutes(10),
                   &command.timeout),
        std::tuple("--alert-for", &raw.alert_for, absl::Minutes(1), absl::Hours(24 * 7),
                   &command.alert_for)}) {
    if (app.count(option) == 0) continue;
    const absl::StatusOr<absl::Duration> duration = ParseDurationText(*text);
    if (!duration.ok()) return Wrong(absl::StrCat(option, ": ", duration.status().message()));
    if (*duration < least || *duration > most) {
      return Wrong(absl::StrCat(option, ": ", *text, " is not between ", DurationText(least),
                                " and ", DurationText(most)));
    }
    *value = *duration;
  }
  if (app.count("--alert-for") > 0 && *format != PushFormat::kAlertmanager) {
    return Wrong("--alert-for: only alerts have an end; use it with --format alertmanager");
  }
  if (raw.push_tls.cert_file.empty() != raw.push_tls.key_file.empty()) {
    return Wrong(raw.push_tls.key_file.empty()
                     ? "--push-cert: its private key is missing: give --push-key FILE"
                     : "--push-key: its certificate is missing: give --push-cert FILE");
  }
  if (!raw.url.empty() && !raw.url_file.empty()) {
    return Wrong("--url-file: the command line has a URL as well; use one of them");
  }
  const bool named = !raw.url.empty() || !raw.url_file.empty();
  if (!named && !(raw.status && !raw.state_dir.empty())) {
    return Wrong(raw.status
                     ? "push --status: which push? Give its URL, --url-file or --state-dir"
                     : "push: where to? Write `vmevents push https://HOST/PATH`, or --url-file");
  }
  if (!raw.url.empty()) {
    const auto target = ParsePushTarget(raw.url, *format, raw.insecure_http || raw.status);
    if (!target.ok()) return target.status();
  }
  command.follow.watch.start = *start;
  command.follow.watch.filter = *filter;
  command.follow.watch.wait = true;
  command.follow.watch.identify = true;
  command.url = raw.url;
  command.url_file = raw.url_file;
  command.format = *format;
  command.secret_file = raw.secret_file;
  command.header_file = raw.header_file;
  command.tls = raw.push_tls;
  command.insecure_http = raw.insecure_http;
  command.state_dir = raw.state_dir;
  command.state_home = context.state_home;
  command.metrics_file = raw.metrics_file;
  command.status = raw.status;
  return command;
}

absl::StatusOr<FollowCommand> MakeWatch(const CLI::App& app, const RawOptions& raw,
                                        const OptionContext& context) {
  FollowCommand command;
  const auto filter = FilterOf(raw);
  if (!filter.ok()) return filter.status();
  const auto start = MakeStart(app, raw, context);
  if (!start.ok()) return start.status();
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
  const auto filter = FilterOf(raw);
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
  if (!command.last && !events->since) command.last = kUsualLast;
  return command;
}

absl::StatusOr<VmsCommand> MakeVms(const RawOptions& raw) {
  const auto filter = FilterOf(raw);
  if (!filter.ok()) return filter.status();
  const auto states = ParseStates(raw.states);
  if (!states.ok()) return states.status();
  VmsCommand command;
  command.names.assign(filter->vm_names().begin(), filter->vm_names().end());
  command.sources = raw.filter.sources;
  command.uuids.assign(filter->uuids().begin(), filter->uuids().end());
  command.labels = raw.filter.labels;
  for (const int one : filter->classes()) {
    command.classes.push_back(static_cast<v1::ShutdownClass>(one));
  }
  for (const int one : filter->causes()) {
    command.causes.push_back(static_cast<v1::ShutdownCause>(one));
  }
  command.runs.assign(filter->run_ids().begin(), filter->run_ids().end());
  command.states = *states;
  // A request for stopped VMs implies that they are listed.
  command.include_stopped =
      raw.all || !command.classes.empty() || !command.causes.empty() || !command.runs.empty() ||
      std::find(states->begin(), states->end(), v1::VM_STATE_STOPPED) != states->end();
  return command;
}

absl::StatusOr<VmCommand> MakeVm(const CLI::App& app, const RawOptions& raw) {
  const absl::Status name = CheckText("NAME", raw.name);
  if (!name.ok()) return name;
  if (app.count("--run") > 0) {
    const absl::Status run = CheckText("--run", raw.run_id);
    if (!run.ok()) return run;
  }
  return VmCommand{raw.name, raw.run_id};
}

absl::StatusOr<DeclareIntentCommand> MakeDeclareIntent(const CLI::App& app, const RawOptions& raw,
                                                       const OptionContext& context) {
  absl::Status status = CheckText("NAME", raw.name);
  const std::string& actor = app.count("--actor") == 0 ? context.user : raw.actor;
  if (status.ok() && app.count("--actor") == 0 && actor.empty()) {
    status = Wrong("--actor: say who is about to act");
  }
  if (status.ok()) status = CheckText("--actor", actor);
  if (status.ok() && app.count("--reason") == 0) status = Wrong("--reason: say why");
  if (status.ok()) status = CheckText("--reason", raw.reason);
  if (status.ok() && app.count("--run") > 0) status = CheckText("--run", raw.run_id);
  if (!status.ok()) return status;
  DeclareIntentCommand command = {raw.name, raw.run_id, actor, raw.reason, std::nullopt};
  if (app.count("--ttl") > 0) {
    const absl::StatusOr<absl::Duration> ttl = ParseDurationText(raw.ttl);
    if (!ttl.ok()) return Wrong(absl::StrCat("--ttl: ", ttl.status().message()));
    command.ttl = *ttl;
  }
  return command;
}

absl::StatusOr<WithdrawIntentCommand> MakeWithdrawIntent(const RawOptions& raw) {
  const absl::Status id = CheckText("INTENT_ID", raw.intent_id);
  if (!id.ok()) return id;
  return WithdrawIntentCommand{raw.intent_id};
}

absl::StatusOr<HealthCommand> MakeHealth(const CLI::App& app, const RawOptions& raw) {
  HealthCommand command;
  command.service = raw.service;
  if (!raw.service.empty()) {
    const absl::Status service = CheckText("SERVICE", raw.service);
    if (!service.ok()) return service;
  }
  if (app.count("--timeout") > 0) {
    const absl::StatusOr<absl::Duration> timeout = ParseDurationText(raw.timeout);
    if (!timeout.ok()) return Wrong(absl::StrCat("--timeout: ", timeout.status().message()));
    command.timeout = *timeout;
  }
  return command;
}

absl::StatusOr<TopCommand> MakeTop(const CLI::App& app, const RawOptions& raw) {
  TopCommand command;
  if (app.count("--interval") > 0) {
    const absl::StatusOr<absl::Duration> interval = ParseDurationText(raw.interval);
    if (!interval.ok()) return Wrong(absl::StrCat("--interval: ", interval.status().message()));
    command.interval = *interval;
  }
  if (app.count("--window") > 0) {
    const absl::StatusOr<absl::Duration> window = ParseDurationText(raw.window);
    if (!window.ok()) return Wrong(absl::StrCat("--window: ", window.status().message()));
    command.window = *window;
  }
  return command;
}

absl::StatusOr<TimelineCommand> MakeTimeline(const CLI::App& app, const RawOptions& raw,
                                             const OptionContext& context) {
  absl::Status status = CheckText("NAME", raw.name);
  if (status.ok() && app.count("--run") > 0) status = CheckText("--run", raw.run_id);
  if (!status.ok()) return status;
  const auto since =
      ParseTimeOption("--since", app.count("--since") > 0, raw.since, context.now, context.zone);
  if (!since.ok()) return since.status();
  return TimelineCommand{raw.name, raw.run_id, *since};
}

}  // namespace vmeventd::client
