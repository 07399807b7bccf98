#include "client/web/api.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <variant>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/text.h"
#include "client/output/formatter.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {

// The files of the page, which are compiled in.
extern const std::string_view kPageHtml, kPageCss, kPageJs;

namespace {

// Options that a query may have; each command knows some of them.
constexpr absl::string_view kParameters[] = {
    "all", "cause", "class", "from",    "journal", "label", "last", "limit", "newest-first", "node",
    "run", "runs",  "since", "sort-by", "source",  "state", "type", "until", "uuid",         "vm"};

class TextOutput : public Output {
 public:
  absl::Status Write(absl::string_view more) override {
    absl::StrAppend(&text, more);
    return absl::OkStatus();
  }
  std::string text;
};

std::string SourceText(const CommandLine& line) {
  if (line.fleet) return ToText(*line.fleet);
  return absl::StrJoin(line.servers, ", ", [](std::string* out, const ServerAddress& server) {
    absl::StrAppend(out, ToText(server));
  });
}

// Answers with what `read` prints, as an array of that name.
WebAnswer Collect(
    const char* name, const CommandLine& query,
    const std::function<std::optional<Failure>(ListSource* lists, Output* output)>& read) {
  std::mutex mutex;
  nlohmann::ordered_json problems = nlohmann::ordered_json::array();
  const auto note = [&](const std::string& sentence) {
    const std::lock_guard<std::mutex> lock(mutex);
    problems.push_back(sentence);
  };
  TextOutput output;
  const auto failure = read(ListsOf(query, note).get(), &output);
  if (failure && output.text.empty()) {
    const int status = failure->code == ExitCode::kNotFound      ? 404
                       : failure->code == ExitCode::kUnreachable ? 503
                                                                 : 502;
    return ErrorAnswer(status, failure->sentence);
  }
  if (failure) note(failure->sentence);
  const absl::string_view list = absl::StripSuffix(output.text, "\n");
  return {200, "application/json",
          absl::StrCat("{\"source\":", JsonText(SourceText(query)),
                       ",\"problems\":", JsonText(problems), ",\"", name, "\":[\n",
                       absl::StrReplaceAll(list, {{"\n", ",\n"}}), "\n]}\n")};
}

}  // namespace

WebAnswer ErrorAnswer(int status, absl::string_view sentence) {
  return {status, "application/json", JsonText({{"error", std::string(sentence)}}) + "\n"};
}

WebAnswer WebApi::Answer(const WebRequest& request) {
  constexpr absl::string_view kVm = "/api/v1/vms/";
  const std::string& path = request.path;
  Query query = request.query;
  std::string name;
  std::vector<std::string> arguments;
  if (path == "/") return {200, "text/html; charset=utf-8", std::string(kPageHtml)};
  if (path == "/page.css") return {200, "text/css; charset=utf-8", std::string(kPageCss)};
  if (path == "/page.js") return {200, "text/javascript; charset=utf-8", std::string(kPageJs)};
  if (path == "/healthz") return {200, "text/plain", "ok\n"};
  if (path == "/api/v1/vms") {
    arguments = {"vms"};
  } else if (path == "/api/v1/events") {
    const bool limited = absl::c_any_of(
        query, [](const auto& one) { return one.first == "last" || one.first == "limit"; });
    if (!limited) query.emplace_back("last", absl::StrCat(kMaxEvents));
    arguments = {"events"};
  } else if (path == "/api/v1/events/stream") {
    arguments = {"watch"};
  } else if (absl::StartsWith(path, kVm)) {
    // A browser takes "." and ".." out of a path, encoded or not: ?name= has them.
    const auto named = absl::c_find_if(query, [](const auto& one) { return one.first == "name"; });
    name = path.substr(kVm.size());
    if (name.empty() && named != query.end()) {
      name = named->second;
      query.erase(named);
    }
    if (name.empty() || !IsValidUtf8(name)) {
      return ErrorAnswer(400, "the name of the VM is empty or not UTF-8; write /api/v1/vms/NAME");
    }
    arguments = {"why", "--vm=x"};  // for the name, which may have commas
  } else {
    return ErrorAnswer(404,
                       "there is no such page; the pages are /, /api/v1/vms, /api/v1/vms/NAME, "
                       "/api/v1/events, /api/v1/events/stream and /healthz");
  }
  auto parsed = Parse(std::move(arguments), query);
  if (auto* wrong = std::get_if<WebAnswer>(&parsed)) return std::move(*wrong);
  auto& line = std::get<CommandLine>(parsed);
  Formatter formatter(Form::kJson, {.zone = line_.zone, .story_text = true, .now = absl::Now});
  if (const auto* vms = std::get_if<VmsCommand>(&line.command)) {
    return Collect("vms", line, [&](ListSource* lists, Output* output) {
      return RunList(*vms, lists, &formatter, output);
    });
  }
  if (const auto* events = std::get_if<EventsCommand>(&line.command)) {
    if (events->most() > kMaxEvents) {
      return ErrorAnswer(400, absl::StrCat("a list has at most ", kMaxEvents,
                                           " events; ask for others with since and until"));
    }
    return Collect("events", line, [&](ListSource* lists, Output* output) {
      return RunList(*events, lists, &formatter, output);
    });
  }
  auto* const why = std::get_if<WhyCommand>(&line.command);
  if (why == nullptr) return Follow(std::move(line), request);
  // The pattern that only this name matches.
  *why->filter.mutable_vm_names(0) =
      absl::StrReplaceAll(name, {{"*", "[*]"}, {"?", "[?]"}, {"[", "[[]"}});
  return Collect("stories", line, [&](ListSource* lists, Output* output) {
    return RunWhy(*why, "", lists, &formatter, output, absl::Now());
  });
}

std::variant<CommandLine, WebAnswer> WebApi::Parse(std::vector<std::string> arguments,
                                                   const Query& query) const {
  for (const auto& [name, value] : query) {
    if (!absl::c_linear_search(kParameters, name)) {
      return ErrorAnswer(400, absl::StrCat("\"", name, "\" is not a parameter; the parameters are ",
                                           absl::StrJoin(kParameters, ", ")));
    }
    const bool flag = name == "all" || name == "runs" || name == "newest-first";
    if (value.empty() && !flag) {
      return ErrorAnswer(400, absl::StrCat("the parameter ", name, " is empty; give it a value"));
    }
    arguments.push_back(absl::StrCat("--", name, value.empty() ? "" : "=", value));
  }
  // The checks depend on the kind and the number of servers alone.
  for (size_t i = 0; i < std::max<size_t>(line_.servers.size(), 1); ++i) {
    arguments.push_back(line_.fleet ? "--server=nats://x" : absl::StrCat("--server=unix:/", i));
  }
  OptionContext context;  // a query is not of this user and configuration
  context.now = absl::Now();
  context.zone = line_.zone;
  auto parsed = ParseCommandLine(arguments, context);
  if (const auto* wrong = std::get_if<Answered>(&parsed)) {
    const absl::string_view sentence = wrong->err;
    return ErrorAnswer(400, absl::StripPrefix(sentence.substr(0, sentence.rfind(" (see ")), "--"));
  }
  auto& line = std::get<CommandLine>(parsed);
  line.servers = line_.servers;
  line.fleet = line_.fleet;
  if (line.nodes.empty()) line.nodes = line_.nodes;
  return line;
}

WebAnswer WebApi::Follow(CommandLine query, const WebRequest& request) {
  auto& watch = std::get<FollowCommand>(query.command).watch;
  if (std::holds_alternative<FromSnapshot>(watch.start)) {
    return ErrorAnswer(400, "from: a snapshot has VMs and no events; read /api/v1/vms");
  }
  watch.wait = true;
  watch.identify = true;
  const std::vector<std::string> keys = CursorKeys(line_);
  const auto positions = request.last_event_id.empty()
                             ? StreamPositions()
                             : ParseEventId(request.last_event_id, keys.size());
  if (!positions.ok()) {
    return ErrorAnswer(400, absl::StrCat("Last-Event-ID ", positions.status().message()));
  }
  WebAnswer answer = {200, "text/event-stream", ""};
  if (request.head) return answer;
  // The stream counts as long as its source can be made.
  const std::shared_ptr<void> counted(nullptr, [this](void*) { --streams_; });
  if (++streams_ > kMaxStreams) {
    return ErrorAnswer(
        503, absl::StrCat(kMaxStreams, " streams are open, the maximum; try again later"));
  }
  const auto make = [counted, keys, positions = *positions, query = std::move(query)](
                        StopSource* stop, const PrintSentence& note) {
    const auto position_of = [&](const std::string& key) -> std::optional<WatchPosition> {
      const auto found =
          positions.find(static_cast<size_t>(absl::c_find(keys, key) - keys.begin()));
      return found == positions.end() ? std::nullopt : std::optional(found->second);
    };
    return MakeSource(std::get<FollowCommand>(query.command), query, position_of, stop, note);
  };
  const bool one_server = !line_.fleet && line_.servers.size() == 1;
  answer.stream = std::make_unique<EventStream>(make, *positions, one_server, stop_);
  return answer;
}

}  // namespace vmeventd::client
