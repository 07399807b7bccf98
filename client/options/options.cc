#include "client/options/options.h"

#include <algorithm>
#include <sstream>
#include <tuple>

#include "CLI/CLI.hpp"
#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/text.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"
#include "client/options/servers.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

// Limit of --last, which keeps its events in memory.
constexpr uint64_t kMaxLast = 100'000;
// Events that --follow begins with by default.
constexpr uint64_t kUsualLast = 10;
// Limit of --batch, and its default.
constexpr uint64_t kMaxBatch = 1000;
constexpr uint64_t kUsualBatch = 100;

// A GAP of the node passes every filter: whether it was asked for.
bool AskedForGaps(const v1::EventFilter& filter, OptionReader* options) {
  const auto& types = filter.types();
  if (absl::c_linear_search(types, v1::EVENT_TYPE_GAP)) return true;
  return options->Has("--exec") ? options->Flag("--exec-gaps") : filter.ByteSizeLong() == 0;
}

void ReadExec(OptionReader* options, FollowCommand* command) {
  command->exec = options->TextWith("--exec", "give a command");
  for (const char* option : {"--exec-on-failure", "--exec-gaps"}) {
    if (!options->Has(option) || options->Has("--exec")) continue;
    options->Wrong(absl::StrCat(option, ": belongs to a command; use it with --exec COMMAND"));
  }
  auto on_failure = static_cast<size_t>(command->on_failure);
  options->Choice("--exec-on-failure", "an action", &on_failure);
  command->on_failure = static_cast<OnFailure>(on_failure);
}

FollowCommand MakeWatch(OptionReader* options) {
  FollowCommand command;
  command.watch.filter = options->Filter();
  command.watch.start = options->Start();
  command.count = options->Count("--count");
  if (options->Has("--timeout")) options->Duration("--timeout", &command.timeout.emplace());
  command.cursor_file = options->TextWith("--cursor-file", "name a file");
  ReadExec(options, &command);
  command.gaps = AskedForGaps(command.watch.filter, options);
  command.watch.resume = !options->Flag("--no-resume");
  command.watch.wait = options->Flag("--wait");
  return command;
}

// Reads the destination of a push.
void ReadTarget(OptionReader* options, PushCommand* command) {
  command->url = options->Text("URL");
  command->insecure_http = options->Flag("--insecure-http");
  command->status = options->Flag("--status");
  command->retry_set_aside = options->Flag("--retry-set-aside");
  if (command->tls.cert_file.empty() != command->tls.key_file.empty()) {
    options->Wrong(command->tls.key_file.empty()
                       ? "--push-cert: its private key is missing: give --push-key FILE"
                       : "--push-key: its certificate is missing: give --push-cert FILE");
  }
  if (!command->url.empty() && !command->url_file.empty()) {
    options->Wrong("--url-file: the command line has a URL as well; use one of them");
  }
  if (command->status && command->retry_set_aside) {
    options->Wrong("--status: --retry-set-aside is given as well; use one after the other");
  }
  const bool named = !command->url.empty() || !command->url_file.empty();
  if (!named && !(command->only_asks() && !command->state_dir.empty())) {
    options->Wrong(command->only_asks()
                       ? "push: which one? Give its URL, --url-file or --state-dir"
                       : "push: where to? Write `vmevents push https://HOST/PATH`, `vmevents push "
                         "nats://HOST`, or --url-file");
  }
  if (command->url.empty()) return;
  options->Check(
      ParsePushTarget(command->url, command->insecure_http || command->only_asks()).status());
}

// Reads what a push into a fleet's stream takes, or that it is none. Where the URL is in a file,
// its
// --cluster says that it names NATS servers.
void ReadFleetTarget(OptionReader* options, PushCommand* command) {
  constexpr size_t kMaxCluster = 64;
  command->cluster = options->TextWith("--cluster", "name the node's cluster");
  command->domain = options->TextWith("--push-domain", "name a domain of JetStream");
  const bool fleet = IsNatsUrl(command->url) || !command->cluster.empty();
  if (command->only_asks()) return;
  const std::vector<const char*> of_others =
      fleet ? std::vector<const char*>{"--template", "--secret-file", "--header-file", "--timeout",
                                       "--batch",    "--batch-time",  "--journal",     "--node",
                                       "--vm",       "--uuid",        "--label",       "--source",
                                       "--type",     "--class",       "--cause",       "--run"}
            : std::vector<const char*>{"--push-credentials", "--push-domain"};
  for (const char* option : of_others) {
    if (!options->Has(option)) continue;
    options->Wrong(absl::StrCat(option, fleet ? ": a fleet's stream gets every event of the node, "
                                                "as it is; leave it out"
                                              : ": only NATS servers take it; name some as "
                                                "nats://HOST, and --cluster"));
  }
  if (!fleet) return;
  if (!command->url.empty() && !IsNatsUrl(command->url)) {
    options->Wrong("--cluster: only a fleet's stream has it; write `vmevents push nats://HOST`");
  }
  if (command->cluster.empty()) {
    options->Wrong("push: nats:// needs --cluster NAME, the cluster of this node");
  }
  if (command->cluster.size() > kMaxCluster) {
    options->Wrong(absl::StrCat("--cluster: the name has more than ", kMaxCluster, " bytes"));
  }
  if (command->format != PushFormat::kCloudEvents && command->format != PushFormat::kJson) {
    options->Wrong("--format: the events of a fleet's stream are cloudevents or json");
  }
  if (!command->domain.empty()) {
    if (const absl::Status domain = CheckDomain(command->domain); !domain.ok()) {
      options->Wrong(absl::StrCat("--push-domain: \"", command->domain, "\" ", domain.message()));
    }
  }
  if (!options->Has("--from") && !options->Has("--since")) {
    command->follow.watch.start = FromOldest{};
  }
  command->follow.watch.durable_only = true;
}

PushCommand MakePush(OptionReader* options) {
  PushCommand command;
  const std::pair<const char*, std::string*> files[] = {
      {"--url-file", &command.url_file},
      {"--template", &command.template_file},
      {"--secret-file", &command.secret_file},
      {"--header-file", &command.header_file},
      {"--push-ca", &command.tls.ca_file},
      {"--push-cert", &command.tls.cert_file},
      {"--push-key", &command.tls.key_file},
      {"--state-dir", &command.state_dir},
      {"--push-credentials", &command.credentials},
      {"--metrics-file", &command.metrics_file}};
  for (const auto& [option, file] : files) {
    *file = options->TextWith(option, "name a file or directory");
  }
  auto format = static_cast<size_t>(command.format);
  options->Choice("--format", "a format", &format);
  command.format = static_cast<PushFormat>(format);
  if (!command.template_file.empty()) {
    if (options->Has("--format")) {
      options->Wrong("--template: --format names another form; use one of them");
    }
    command.format = PushFormat::kTemplate;
  }
  command.follow.watch.start = options->Start();
  if (std::holds_alternative<FromSnapshot>(command.follow.watch.start)) {
    options->Wrong("--from: a snapshot has VMs and no events; begin with oldest, or with a time");
  }
  command.follow.watch.filter = options->Filter();
  command.follow.watch.wait = true;
  command.follow.watch.identify = true;
  command.batch.events =
      static_cast<size_t>(options->CountTo("--batch", kMaxBatch, "").value_or(kUsualBatch));
  command.batch.time = absl::Seconds(1);
  const std::tuple<const char*, absl::Duration, absl::Duration, absl::Duration*> durations[] = {
      {"--batch-time", absl::Milliseconds(1), absl::Minutes(1), &command.batch.time},
      {"--timeout", absl::Seconds(1), absl::Minutes(10), &command.timeout}};
  for (const auto& [option, least, most, value] : durations) {
    options->Duration(option, value);
    if (*value >= least && *value <= most) continue;
    options->Wrong(absl::StrCat(option, ": ", options->Text(option), " is not between ",
                                DurationText(least), " and ", DurationText(most)));
  }
  ReadTarget(options, &command);
  ReadFleetTarget(options, &command);
  command.state_home = options->context().state_home;
  return command;
}

WebCommand MakeWeb(OptionReader* options) {
  WebCommand command;
  const std::pair<const char*, std::string*> files[] = {
      {"--web-cert", &command.cert_file},
      {"--web-key", &command.key_file},
      {"--web-client-ca", &command.client_ca_file},
      {"--token-file", &command.token_file}};
  for (const auto& [option, file] : files) *file = options->TextWith(option, "name a file");
  if (command.cert_file.empty() != command.key_file.empty()) {
    options->Wrong(command.key_file.empty()
                       ? "--web-cert: its private key is missing: give --web-key FILE"
                       : "--web-key: its certificate is missing: give --web-cert FILE");
  }
  if (!command.client_ca_file.empty() && command.cert_file.empty()) {
    options->Wrong("--web-client-ca: only TLS has certificates of clients: give --web-cert FILE");
  }
  const std::string listen =
      options->Has("--listen") ? options->Text("--listen") : "127.0.0.1:9557";
  const auto address = ParseServerAddress(listen);
  if (!address.ok() || address->is_unix() || !absl::EndsWith(listen, ":" + address->port)) {
    options->Wrong(absl::StrCat("--listen: ", Quote(listen),
                                " is no address to listen at; write HOST:PORT, as 127.0.0.1:9557"));
  } else {
    command.listen = *address;
  }
  return command;
}

EventsCommand MakeEvents(OptionReader* options) {
  EventsCommand command;
  command.filter = options->Filter();
  command.since = options->Time("--since");
  command.until = options->Time("--until");
  if (command.since && command.until && *command.since >= *command.until) {
    options->Wrong("--since is not before --until, so no event can match; swap the two");
  }
  command.newest_first = options->Flag("--newest-first");
  command.limit = options->Count("--limit");
  command.last = options->CountTo("--last", kMaxLast, ", or use --since");
  if (command.last && command.limit) {
    options->Wrong("--last: --limit limits the list as well; use one of them");
  }
  if (options->Has("--cursor-file") && !options->Flag("--follow")) {
    options->Wrong("--cursor-file: a list has no position to keep; use it with --follow");
  }
  return command;
}

// `events -f`: the history that `events` has, and what follows.
FollowCommand MakeFollow(OptionReader* options) {
  const EventsCommand events = MakeEvents(options);
  for (const char* option : {"--until", "--newest-first", "--limit"}) {
    if (!options->Has(option)) continue;
    options->Wrong(absl::StrCat("--follow: has no end, so that ", option,
                                " has no meaning; leave one of them out"));
  }
  FollowCommand command;
  command.cursor_file = options->TextWith("--cursor-file", "name a file");
  command.watch.filter = events.filter;
  command.watch.start = events.since ? WatchStart(FromTime{*events.since}) : FromOldest{};
  command.last = events.last;
  if (!command.last && !events.since) command.last = kUsualLast;
  return command;
}

VmsCommand MakeVms(OptionReader* options) {
  VmsCommand command;
  command.filter = options->Filter();
  command.states = options->States();
  command.runs = options->Flag("--runs");
  auto order = static_cast<size_t>(command.order);
  options->Choice("--sort-by", "an order", &order);
  command.order = static_cast<VmOrder>(order);
  // A VM that is named, and a request for stopped VMs, imply that they are listed.
  const bool names_one = absl::c_any_of(command.filter.vm_names(), [](const std::string& name) {
    return name.find_first_of("*?[") == std::string::npos;
  });
  command.include_stopped = options->Flag("--all") || command.runs || command.of_ends() ||
                            names_one ||
                            absl::c_linear_search(command.states, v1::VM_STATE_STOPPED);
  return command;
}

WhyCommand MakeWhy(OptionReader* options) {
  WhyCommand command;
  command.filter = options->Filter();
  command.markdown = options->Flag("--markdown");
  if (command.filter.ByteSizeLong() == 0) {
    options->Wrong("why: which VM? Write `vmevents why NAME`");
  }
  return command;
}

void ReadStatus(OptionReader* options, CommandLine* line) {
  if (options->Has("NAME")) {
    line->command = MakeWhy(options);
  } else if (line->for_people()) {
    line->command = TopCommand{.window = absl::Hours(24), .once = true};
  } else {
    line->command = InfoCommand{};
  }
}

DeclareIntentCommand MakeDeclareIntent(OptionReader* options) {
  DeclareIntentCommand command;
  command.name = options->Word("NAME");
  command.actor = options->Has("--actor") ? options->Text("--actor") : options->context().user;
  if (command.actor.empty() && !options->Has("--actor")) {
    options->Wrong("--actor: say who is about to act");
  }
  options->IsWord("--actor", command.actor);
  if (!options->Has("--reason")) options->Wrong("--reason: say why");
  command.reason = options->Word("--reason");
  command.run_id = options->Word("--run");
  absl::Duration ttl;
  options->Duration("--ttl", &ttl);
  if (options->Has("--ttl")) command.ttl = ttl;
  return command;
}

FleetCreateCommand MakeFleetCreate(OptionReader* options) {
  constexpr int kMaxReplicas = 5;  // JetStream's limit
  FleetCreateCommand create;
  const std::string replicas = options->Text("--replicas");
  if (!replicas.empty() && (!absl::SimpleAtoi(replicas, &create.replicas) || create.replicas < 1 ||
                            create.replicas > kMaxReplicas)) {
    options->Wrong(
        absl::StrCat("--replicas: ", Quote(replicas), " is not a number from 1 to ", kMaxReplicas));
  }
  return create;
}

void ReadStyle(OptionReader* options, CommandLine* line) {
  // Order of ValuesOf().
  static constexpr OutputFormat kFormats[] = {OutputFormat::kTable, OutputFormat::kWide,
                                              OutputFormat::kJson,  OutputFormat::kJson,
                                              OutputFormat::kYaml,  OutputFormat::kName};
  size_t format = 0;
  options->Choice("--output", "a format", &format);
  line->format = kFormats[format];
  auto color = static_cast<size_t>(line->color);
  options->Choice("--color", "a choice", &color);
  line->color = static_cast<ColorMode>(color);
  line->headings = !options->Flag("--no-headers");
  line->cut = !options->Flag("--no-trunc");
  line->pager = !options->Flag("--no-pager");
  line->zone = options->context().zone;
}

// Sets the command, its servers and everything else of the line.
void ReadCommandLine(OptionReader* options, CommandLine* line) {
  ReadStyle(options, line);
  const std::string& command = options->command();
  const std::string& action = options->action();
  if (action.empty() && command == "intent") {
    return options->Wrong(
        "intent: no action is given; the actions are intent declare, intent list and intent "
        "withdraw");
  }
  if (command != "push" || !options->Flag("--status")) {  // --status asks no server
    ReadServers(options, line);
    ReadFleetOptions(options, line);
  }
  if (command == "push") {
    PushCommand push = MakePush(options);
    if (push.follow.watch.durable_only && (line->fleet || line->servers.size() != 1)) {
      options->Wrong("push: nats:// gets the events of one node; name its vmeventd with --server");
    }
    line->command = std::move(push);
  } else if (command == "web") {
    line->command = MakeWeb(options);
  } else if (command == "watch") {
    line->command = MakeWatch(options);
  } else if (command == "events" && options->Flag("--follow")) {
    line->command = MakeFollow(options);
  } else if (command == "events") {
    line->command = MakeEvents(options);
  } else if (command == "vms") {
    line->command = MakeVms(options);
  } else if (command == "why") {
    line->command = MakeWhy(options);
  } else if (command == "doctor") {
    line->command = DoctorCommand{};
  } else if (command == "status") {
    ReadStatus(options, line);
  } else if (command == "top") {
    TopCommand top;
    top.once = options->Flag("--once");
    options->Duration("--interval", &top.interval);
    options->Duration("--window", &top.window);
    line->command = top;
  } else if (action == "declare") {
    line->command = MakeDeclareIntent(options);
  } else if (action == "list") {
    line->command = IntentsCommand{};
  } else if (action == "withdraw") {
    line->command = WithdrawIntentCommand{options->Word("INTENT_ID")};
  } else if (command == "streams") {
    line->command = StreamsCommand{};
  } else if (command == "health") {
    HealthCommand health;
    if (!options->Text("SERVICE").empty()) health.service = options->Word("SERVICE");
    health.all = options->Flag("--all");
    if (health.all && !health.service.empty()) {
      options->Wrong("--all: a SERVICE is given as well; use one of them");
    }
    options->Duration("--timeout", &health.timeout);
    line->command = std::move(health);
  } else if (action == "create") {
    line->command = MakeFleetCreate(options);
  } else if (command == "fleet") {
    line->command = FleetCommand{};
  } else {
    line->command = InfoCommand{};
  }
}

// "; the commands are watch, push and so on".
std::string CommandsOf(const CLI::App& app) {
  const std::string names = absl::StrJoin(
      app.get_subcommands({}), ", ",
      [](std::string* out, const CLI::App* one) { absl::StrAppend(out, one->get_name()); });
  const size_t last = names.rfind(", ");
  return absl::StrCat("; the commands are ", names.substr(0, last), " and ",
                      names.substr(last + 2));
}

Answered Complain(const CLI::App& app, absl::string_view what) {
  const auto commands = app.get_subcommands();
  const std::string command = commands.empty() ? "" : absl::StrCat(" ", commands[0]->get_name());
  const absl::string_view sentence = absl::StripTrailingAsciiWhitespace(what);
  return {ExitCode::kUsage, "",
          absl::StrCat(EscapeForTerminal(sentence), " (see vmevents", command, " --help)")};
}

// Uses CLI11's own message if it is good enough.
std::string ExplainParseError(const CLI::App& app, const std::vector<std::string>& arguments,
                              const CLI::ParseError& error) {
  const std::vector<std::string> extras = app.remaining(true);
  const bool has_extras = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError);
  if (!has_extras || extras.empty()) return error.what();
  const auto commands = app.get_subcommands();
  const CLI::App* command = commands.empty() ? &app : commands.front();
  if (commands.size() == 1 && !command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
  }
  // The word stands before the command in "get vms".
  const auto at = [&](const std::string& word) { return absl::c_find(arguments, word); };
  const bool is_word = !absl::StartsWith(extras.front(), "-");
  const bool is_before = !commands.empty() && at(extras.front()) < at(commands[0]->get_name());
  const std::string hint = HintFor(is_word && is_before ? app : *command, extras.front());
  return absl::StrCat("\"", extras.front(), "\" is not known here", hint,
                      commands.empty() && hint.empty() ? CommandsOf(app) : "");
}

// Answers with a script, or a complaint.
Answered AnswerCompletion(const CLI::App& app, const std::string& shell) {
  const std::optional<std::string> script = CompletionScript(shell);
  if (script) return {ExitCode::kOk, *script, ""};
  return Complain(app, absl::StrCat("\"", shell, "\" is not a known shell; use bash, zsh or fish"));
}

}  // namespace

std::variant<CommandLine, Answered> ParseCommandLine(const std::vector<std::string>& arguments,
                                                     const OptionContext& context) {
  CLI::App app("", "vmevents");
  Define(&app);
  if (arguments.empty()) return ParseCommandLine({"--help"}, context);
  if (arguments.front() == kCompleteCommand) {
    const Completions found = Complete(app, {arguments.begin() + 1, arguments.end()});
    if (found.contexts) {
      const absl::StatusOr<Contexts> contexts = ReadContexts(context);
      std::string names;
      if (contexts.ok()) {
        for (const Context& one : contexts->list) absl::StrAppend(&names, one.name, "\n");
      }
      return Answered{ExitCode::kOk, names, ""};
    }
    if (found.command.empty()) return Answered{ExitCode::kOk, found.lines, ""};
    auto lister = ParseCommandLine(found.command, context);
    if (auto* line = std::get_if<CommandLine>(&lister)) line->preface = found.lines;
    return lister;
  }
  try {
    // CLI11 takes the arguments in reverse order. Where several values may stand, "[a,b]" is a list
    // for it, and not a name: a NUL, which no argument has, marks it as one.
    std::vector<std::string> words = WithoutAliases(app, arguments);
    std::reverse(words.begin(), words.end());
    for (std::string& word : words) {
      if (absl::StartsWith(word, "[") && absl::EndsWith(word, "]")) word.push_back('\0');
    }
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return Complain(app, ExplainParseError(app, arguments, error));
    std::ostringstream out;
    std::ostringstream ignored;
    app.exit(error, out, ignored);
    return Answered{ExitCode::kOk, out.str(), ""};
  }
  if (app.get_subcommands().empty()) {
    return Complain(app, absl::StrCat("no command is given", CommandsOf(app)));
  }
  OptionReader options(app, context);
  if (options.command() == "completion") return AnswerCompletion(app, options.Text("SHELL"));
  if (options.command() == "version") return ParseCommandLine({"--version"}, context);
  if (options.command() == "help") {
    std::vector<std::string> words = WithoutAliases(app, options.Texts("COMMAND"));
    const auto is_named = [&words](const CLI::App* one) { return one->check_name(words[0]); };
    if (!words.empty() && app.get_subcommands(is_named).empty()) {
      const std::string hint = HintFor(app, words[0]);
      return Complain(app, absl::StrCat("\"", words[0], "\" is not a command",
                                        hint.empty() ? CommandsOf(app) : hint));
    }
    words.emplace_back("--help");
    return ParseCommandLine(words, context);
  }
  CommandLine line;
  ReadCommandLine(&options, &line);
  if (!options.status().ok()) return Complain(app, options.status().message());
  return line;
}

}  // namespace vmeventd::client
