#include "client/web/api.h"

#include <sys/stat.h>

#include <cstdint>
#include <iterator>
#include <mutex>
#include <optional>
#include <variant>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/glob.h"
#include "base/utf8.h"
#include "client/commands/events.h"
#include "client/commands/stats.h"
#include "client/commands/why.h"
#include "client/options/option_context.h"
#include "client/output/formatter.h"
#include "client/output/json.h"
#include "client/output/zone_name.h"
#include "client/sources/make_source.h"
#include "client/sources/watch_positions.h"
#include "client/web/event_id.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {

// The files of the page, which are compiled in.
extern const std::string_view kPageHtml, kPageCss, kPageJs;

namespace {

// The parameters of queries. Each but pid and zone is an option of the command.
constexpr absl::string_view kParameters[] = {
    "all",    "by",           "cause",   "class", "from",  "journal", "label", "last",
    "limit",  "newest-first", "node",    "pid",   "run",   "runs",    "since", "sort-by",
    "source", "state",        "trouble", "type",  "until", "uuid",    "vm",    "zone"};

// Only these commands list runs, one of which a pid selects.
bool HasParameter(const std::string& command, absl::string_view name) {
  if (!absl::c_linear_search(kParameters, name)) return false;
  if (name == "pid") return command == "vms" || command == "events" || command == "stats";
  return name == "zone" || OptionKinds(command).contains(std::string(name));
}

bool IsFlag(const std::string& command, const std::string& name) {
  const auto option = OptionKinds(command).find(name);
  return option != OptionKinds(command).end() && option->second == OptionKind::kFlag;
}

class TextOutput : public Output {
 public:
  absl::Status Write(absl::string_view more) override {
    absl::StrAppend(&text, more);
    return absl::OkStatus();
  }
  std::string text;
};

// UTC, or a zone of this host's database. INVALID_ARGUMENT: there is no such zone.
absl::StatusOr<absl::TimeZone> ZoneOf(const std::string& name) {
  absl::TimeZone zone = absl::UTCTimeZone();
  if (name == zone.name()) return zone;
  // Accepts only the name of an existing zone: Abseil also takes paths, and remembers each text
  // that it is asked for.
  const bool is_name = absl::c_all_of(name, [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("_+-/", c);
  });
  struct stat file {};
  if (is_name && !absl::StartsWith(name, "/") && !absl::StrContains(name, "//") &&
      stat(absl::StrCat("/usr/share/zoneinfo/", name).c_str(), &file) == 0 &&
      S_ISREG(file.st_mode) && absl::LoadTimeZone(name, &zone)) {
    return zone;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "zone: \"", name, "\" is not a time zone of this host; write one as Europe/Berlin, or UTC"));
}

// The filter of a list that may be of one process; null: the command has no such list.
v1::EventFilter* FilterOfRuns(CommandLine* line) {
  if (auto* const events = std::get_if<EventsCommand>(&line->command))
    return events->request.mutable_filter();
  if (auto* const stats = std::get_if<StatsCommand>(&line->command))
    return stats->events.request.mutable_filter();
  auto* const vms = std::get_if<VmsCommand>(&line->command);
  return vms == nullptr ? nullptr : &vms->filter;
}

// Answers with what the command prints, as an array of `name`. If `pid` is not 0, only for the run
// whose process has or had that pid.
WebAnswer Collect(const char* name, CommandLine query, int64_t pid = 0) {
  std::mutex mutex;
  nlohmann::ordered_json problems = nlohmann::ordered_json::array();
  const auto note = [&](const std::string& sentence) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!absl::c_linear_search(problems, sentence)) problems.push_back(sentence);
  };
  TextOutput output;
  Formatter formatter(Form::kJson, {.zone = query.zone,
                                    .node_events = pid == 0 && query.prints_gaps(),
                                    .texts = true,
                                    .now = absl::Now});
  std::vector<std::string> servers;
  const auto lists = ListsOf(query.servers, query.is_json(), note, &servers);
  std::string empty;  // the list itself reports that it is empty
  std::optional<Failure> failure;
  std::string run;
  if (pid != 0) {
    v1::EventFilter* const filter = FilterOfRuns(&query);
    run = RunOfPid(lists.get(), *filter, pid, &failure);
    if (!run.empty()) filter->add_run_ids(run);
    if (auto* const vms = std::get_if<VmsCommand>(&query.command)) vms->include_stopped = true;
  }
  if (pid != 0 && run.empty()) {
    // There is nothing to list.
  } else if (const auto* vms = std::get_if<VmsCommand>(&query.command)) {
    failure = RunList(*vms, lists.get(), &formatter, &output, &empty);
  } else if (const auto* events = std::get_if<EventsCommand>(&query.command)) {
    failure = RunList(*events, lists.get(), &formatter, &output, &empty);
  } else if (const auto* stats = std::get_if<StatsCommand>(&query.command)) {
    failure = RunList(*stats, lists.get(), query.zone, &formatter, &output, &empty);
  } else if (const auto* status = std::get_if<StatusCommand>(&query.command)) {
    failure = RunList(*status, lists.get(), &formatter, &output);
  } else {
    failure = RunWhy(std::get<WhyCommand>(query.command), {}, lists.get(), &formatter, &output,
                     absl::Now());
  }
  // If some nodes answered, an empty list is a valid result; an unknown VM is not.
  const bool some_answered = failure && failure->some_answered;
  const bool is_story = std::holds_alternative<WhyCommand>(query.command);
  if (failure && output.text.empty() && is_story && some_answered &&
      failure->code == ExitCode::kUnreachable) {
    note(failure->sentence);
    return {404, "application/json",
            JsonText({{"error", absl::StrCat("no such VM is known on the nodes that answer; ",
                                             failure->sentence)},
                      {"problems", problems}}) +
                "\n"};
  }
  if (failure && output.text.empty() && (is_story || !some_answered)) {
    const int status = failure->code == ExitCode::kNotFound      ? 404
                       : failure->code == ExitCode::kUsage       ? 400
                       : failure->code == ExitCode::kUnreachable ? 503
                                                                 : 502;
    return ErrorAnswer(status, failure->sentence);
  }
  if (failure) note(failure->sentence);
  const absl::string_view list = absl::StripSuffix(output.text, "\n");
  const nlohmann::ordered_json head = {{"servers", servers},
                                       {"fleet", query.servers.fleet.has_value()},
                                       {"zone", ZoneName(query.zone, absl::Now())},
                                       {"problems", problems}};
  const std::string members = JsonText(head);
  return {200, "application/json",
          absl::StrCat(absl::StripSuffix(members, "}"), ",\"", name, "\":[\n",
                       absl::StrReplaceAll(list, {{"\n", ",\n"}}), "\n]}\n")};
}

}  // namespace

WebAnswer ErrorAnswer(int status, absl::string_view sentence) {
  return {status, "application/json", JsonText({{"error", std::string(sentence)}}) + "\n"};
}

WebAnswer WebApi::Answer(const std::string& path, const WebQuery& query,
                         const std::string& last_event_id) {
  constexpr absl::string_view kVm = "/api/v1/vms/";
  std::string command;
  OptionValues values;
  if (path == "/") return {200, "text/html; charset=utf-8", std::string(kPageHtml)};
  if (path == "/page.css") return {200, "text/css; charset=utf-8", std::string(kPageCss)};
  if (path == "/page.js") return {200, "text/javascript; charset=utf-8", std::string(kPageJs)};
  if (path == "/healthz") return {200, "text/plain", "ok\n"};
  if (path == "/api/v1/vms") {
    command = "vms";
  } else if (path == "/api/v1/events") {
    command = "events";
  } else if (path == "/api/v1/counts") {
    command = "stats";
  } else if (path == "/api/v1/nodes") {
    command = "status";
  } else if (path == "/api/v1/events/stream") {
    command = "watch";
  } else if (absl::StartsWith(path, kVm)) {
    if (path.size() == kVm.size() || !IsValidUtf8(path)) {
      return ErrorAnswer(400, "the name of the VM is empty or not UTF-8; write /api/v1/vms/NAME");
    }
    command = "why";
    values = {{"NAME", PatternFor(path.substr(kVm.size()))}};
  } else {
    return ErrorAnswer(404,
                       "there is no such page; the pages are /, /api/v1/vms, /api/v1/vms/NAME, "
                       "/api/v1/events, /api/v1/events/stream, /api/v1/counts, /api/v1/nodes and "
                       "/healthz");
  }
  int64_t pid = 0;
  auto line = Parse(command, std::move(values), query, &pid);
  if (!line.ok()) return ErrorAnswer(400, line.status().message());
  if (std::holds_alternative<VmsCommand>(line->command)) return Collect("vms", *line, pid);
  if (auto* const events = std::get_if<EventsCommand>(&line->command)) {
    if (!events->last && !events->limit) events->last = kMaxListedEvents;
    if (events->max_events() <= kMaxListedEvents) return Collect("events", *line, pid);
    return ErrorAnswer(400, absl::StrCat("a list has at most ", kMaxListedEvents,
                                         " events; ask for others with since and until"));
  }
  if (std::holds_alternative<StatsCommand>(line->command)) return Collect("counts", *line, pid);
  if (std::holds_alternative<StatusCommand>(line->command)) return Collect("nodes", *line);
  if (std::holds_alternative<WhyCommand>(line->command)) return Collect("stories", *line);
  return Follow(*std::move(line), last_event_id);
}

absl::StatusOr<CommandLine> WebApi::Parse(const std::string& command, OptionValues values,
                                          const WebQuery& query, int64_t* pid) const {
  OptionContext context;  // a query is not of this user and configuration
  context.now = absl::Now();
  context.zone = line_.zone;
  for (const auto& [name, value] : query) {
    if (!HasParameter(command, name)) {
      std::vector<absl::string_view> parameters;
      absl::c_copy_if(kParameters, std::back_inserter(parameters),
                      [&](absl::string_view one) { return HasParameter(command, one); });
      return absl::InvalidArgumentError(
          absl::StrCat("\"", name, "\" is not a parameter here; the parameters are ",
                       absl::StrJoin(parameters, ", ")));
    }
    if (IsFlag(command, name)) {
      bool is_set = value.empty();
      if (!is_set && !absl::SimpleAtob(value, &is_set)) {
        return absl::InvalidArgumentError(
            absl::StrCat(name, ": \"", value, "\" is neither true nor false"));
      }
      if (is_set) values.emplace_back(name, "true");
    } else if (value.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the parameter ", name, " is empty; give it a value"));
    } else if (name == "zone") {
      const auto zone = ZoneOf(value);
      if (!zone.ok()) return zone.status();
      context.zone = *zone;
    } else if (name == "pid") {
      if (absl::SimpleAtoi(value, pid) && *pid > 0) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("pid: \"", value, "\" is not a process's; write a number, as 4711"));
    } else {
      values.emplace_back(name, value);
    }
  }
  return ParseQuery(command, values, line_.servers, context);
}

WebAnswer WebApi::Follow(CommandLine query, const std::string& last_event_id) {
  auto& watch = std::get<FollowCommand>(query.command).watch;
  if (std::holds_alternative<FromSnapshot>(watch.start)) {
    return ErrorAnswer(400, "from: a snapshot has VMs and no events; read /api/v1/vms");
  }
  watch.wait = true;
  watch.identify = true;
  const std::vector<std::string> keys = CursorKeys(line_.servers);
  const auto positions =
      last_event_id.empty() ? StreamPositions() : ParseEventId(last_event_id, keys.size());
  if (!positions.ok()) {
    return ErrorAnswer(400, absl::StrCat("Last-Event-ID ", positions.status().message()));
  }
  // The stream counts as long as its source can be made.
  const std::shared_ptr<void> counted(nullptr, [this](void*) { --streams_; });
  if (++streams_ > kMaxStreams) {
    return ErrorAnswer(
        503, absl::StrCat(kMaxStreams, " streams are open, the maximum; try again later"));
  }
  WatchPositions behind;
  for (const auto& [server, position] : *positions) behind[keys[server]] = position;
  const absl::TimeZone zone = query.zone;
  const auto make = [counted, behind, query = std::move(query)](StopSource* stop,
                                                                const PrintSentence& note) {
    return MakeSource(std::get<FollowCommand>(query.command).watch, query.servers, behind, stop,
                      note);
  };
  return {200, "text/event-stream", "",
          std::make_unique<EventStream>(make, *positions, zone, stop_)};
}

}  // namespace vmeventd::client
