#include "client/options.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/option_values.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

constexpr char kProgramHelp[] =
    "Shows who ended the virtual machines of this node, and how vmeventd knows.";
constexpr char kProgramFooter[] =
    R"(ADDR is unix:PATH, HOST:PORT or HOST, whose port is 9555. Without --server it is
$VMEVENTS_SERVER, else the user's unix:$XDG_RUNTIME_DIR/vmeventd/vmeventd.sock if that exists,
else the system's unix:/run/vmeventd/vmeventd.sock. A HOST with --tls-ca speaks TLS.
$VMEVENTS_TLS_CA, _CERT, _KEY and _SERVER_NAME replace the --tls options if none of them is given.

Examples:
  vmevents watch                          what happens from now on
  vmevents vms                            the VMs that run
  vmevents vm web1                        one VM in full, with the verdict on its end
  vmevents events --since 1h --class crash
  vmevents -o json watch --from oldest    one JSON object a line, for programs

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 server not reachable.)";
constexpr char kWatchFooter[] =
    R"(START as a time is 2026-07-01T12:00:00Z, "2026-07-01 12:00:00" (local time), or how long ago:
10m, 2d. It reconnects when the daemon comes back, with nothing lost or repeated; if events may be
missing, it prints GAP on standard error. Ctrl-C ends it with 0, or with 130 if --count was not
reached.

Examples:
  vmevents watch --from snapshot          the VMs as they are, then what follows
  vmevents watch --vm 'web*' --type stopped --class user,admin
  vmevents watch --from 10m               what happened in the last ten minutes, and on
  vmevents watch --vm web1 --type stopped --count 1    wait until web1 has ended
  vmevents -o json watch --from 4711 --journal JOURNAL_ID)";
constexpr char kEventsFooter[] =
    R"(TIME is 2026-07-01T12:00:00Z, "2026-07-01 12:00:00" (local time), or how long ago: 10m, 2d.

Examples:
  vmevents events --since 1d --type stopped
  vmevents events --newest-first --limit 20
  vmevents -o json events --vm web1 --since 2026-07-01T00:00:00Z --until 2026-07-02T00:00:00Z)";
constexpr char kVmsFooter[] =
    R"(Examples:
  vmevents vms --all                      include stopped VMs
  vmevents vms --state paused --state unreachable
  vmevents -o json vms --vm 'web*')";
constexpr char kVmFooter[] =
    R"(Examples:
  vmevents vm web1
  vmevents vm web1 --run RUN_ID           an earlier run, or one of two of that name)";
constexpr char kIntentFooter[] =
    R"(An intent says who is about to stop, migrate or kill a VM, and why: the stop that follows is then an
admin's, however it happens. It ends with the run, when it expires, or when it is withdrawn.

Examples:
  vmevents intent declare web1 --actor alice --reason 'node is emptied for maintenance'
  vmevents intent withdraw INTENT_ID)";
constexpr char kDeclareFooter[] =
    R"(Example:
  vmevents intent declare web1 --actor orchestrator --reason 'migration to node7' --ttl 5m)";
constexpr char kWithdrawFooter[] =
    R"(Example:
  vmevents intent withdraw 6a6f7572-6e61-4c00-8000-000000000001)";
constexpr char kInfoFooter[] =
    R"(Example:
  vmevents -o json info)";

constexpr char kHealthFooter[] =
    R"(SERVICE is vmeventd.v1.VmEventService, or journal: whether events are durable. Without it,
the server as a whole. Exits with 0 if it is SERVING, 1 if it is not, 3 if there is no such service,
4 if the server is not reachable.

Examples:
  vmevents health
  vmevents health --timeout 1s --server node1 --tls-ca ca.pem)";

constexpr char kCommands[] = "watch, events, vms, vm, intent, info and health";
constexpr char kIntentCommands[] = "intent declare and intent withdraw";

// The options as typed.
struct RawOptions {
  std::string server;
  TlsOptions tls;
  std::string output = "table";
  std::string color = "auto";
  std::vector<std::string> vms;
  std::vector<std::string> types;
  std::vector<std::string> classes;
  std::vector<std::string> states;
  std::string from;
  std::string journal;
  std::string count;
  bool no_resume = false;
  bool wait = false;
  std::string since;
  std::string until;
  bool newest_first = false;
  std::string limit;
  bool all = false;
  std::string name;
  std::string run_id;
  std::string actor;
  std::string reason;
  std::string ttl;
  std::string intent_id;
  std::string service;
  std::string timeout;
};

void AddList(CLI::App* app, const char* option, std::vector<std::string>* values,
             const char* value_name, const char* help) {
  app->add_option(option, *values, help)->allow_extra_args(false)->type_name(value_name);
}

void AddText(CLI::App* app, const char* option, std::string* value, const char* value_name,
             const char* help) {
  app->add_option(option, *value, help)->type_name(value_name);
}

CLI::App* AddCommand(CLI::App* app, const char* name, const char* help, const char* footer) {
  CLI::App* command = app->add_subcommand(name, help);
  command->fallthrough();  // --server and -o may also follow the command
  command->footer(absl::StrCat(
      "--server, --tls-*, -o and --color go before or after the command.\n\n", footer));
  return command;
}

void AddFilter(CLI::App* command, RawOptions* raw) {
  AddList(command, "--vm", &raw->vms, "GLOB", "only VMs of such a name; may be repeated");
  AddList(command, "--type", &raw->types, "TYPE",
          "only events of this type, as started or stopped; may be repeated");
  AddList(command, "--class", &raw->classes, "CLASS",
          "only ends by user, admin, crash or unknown; may be repeated");
}

void AddWatch(CLI::App* app, RawOptions* raw) {
  CLI::App* watch = AddCommand(app, "watch", "Follow events as they happen", kWatchFooter);
  AddText(watch, "--from", &raw->from, "START",
          "begin after a sequence number, or at oldest, snapshot or a time; default now");
  AddText(watch, "--journal", &raw->journal, "ID",
          "the journal of that sequence number; default the server's present one");
  AddFilter(watch, raw);
  AddText(watch, "--count", &raw->count, "N", "end after N events");
  watch->add_flag("--no-resume", raw->no_resume, "end when the daemon stops");
  watch->add_flag("--wait", raw->wait, "wait for a daemon that cannot be reached yet");
}

void AddEvents(CLI::App* app, RawOptions* raw) {
  CLI::App* events = AddCommand(app, "events", "List events of the past", kEventsFooter);
  AddText(events, "--since", &raw->since, "TIME", "only events at or after this time");
  AddText(events, "--until", &raw->until, "TIME", "only events before this time");
  AddFilter(events, raw);
  events->add_flag("--newest-first", raw->newest_first, "the newest at the top");
  AddText(events, "--limit", &raw->limit, "N", "at most N events");
}

void AddVms(CLI::App* app, RawOptions* raw) {
  CLI::App* vms = AddCommand(app, "vms", "List the VMs", kVmsFooter);
  AddList(vms, "--vm", &raw->vms, "GLOB", "only VMs of such a name; may be repeated");
  AddList(vms, "--state", &raw->states, "STATE",
          "only VMs in this state, as running or stopped; may be repeated");
  vms->add_flag("--all", raw->all, "include stopped VMs");
  CLI::App* vm = AddCommand(app, "vm", "Show one VM in full", kVmFooter);
  vm->add_option("NAME", raw->name, "the VM's name")->required()->type_name("");
  AddText(vm, "--run", &raw->run_id, "RUN_ID", "the run, if a name has several");
}

void AddIntent(CLI::App* app, RawOptions* raw) {
  CLI::App* intent =
      AddCommand(app, "intent", "Say who is about to stop a VM, and why", kIntentFooter);
  intent->require_subcommand(0, 1);
  CLI::App* declare = AddCommand(intent, "declare", "Declare an intent for a VM", kDeclareFooter);
  declare->add_option("NAME", raw->name, "the VM's name")->required()->type_name("");
  AddText(declare, "--actor", &raw->actor, "WHO", "the person or the system that acts");
  AddText(declare, "--reason", &raw->reason, "WHY", "one sentence for people");
  AddText(declare, "--ttl", &raw->ttl, "DURATION",
          "how long it is valid, such as 5m; default 10m, at most 24h");
  AddText(declare, "--run", &raw->run_id, "RUN_ID", "the run, if a name has several");
  CLI::App* withdraw =
      AddCommand(intent, "withdraw", "Withdraw a declared intent", kWithdrawFooter);
  withdraw->add_option("INTENT_ID", raw->intent_id, "as printed by declare")
      ->required()
      ->type_name("");
}

void AddHealth(CLI::App* app, RawOptions* raw) {
  CLI::App* health = AddCommand(app, "health", "Ask whether vmeventd serves", kHealthFooter);
  health->add_option("SERVICE", raw->service, "one of its services")->type_name("");
  AddText(health, "--timeout", &raw->timeout, "DURATION",
          "how long to wait for the answer, such as 1s; default 5s");
}

void AddTls(CLI::App* app, TlsOptions* tls) {
  AddText(app, "--tls-ca", &tls->ca_file, "FILE",
          "speak TLS with a server whose certificate is of a CA in this PEM file");
  AddText(app, "--tls-cert", &tls->cert_file, "FILE", "the certificate to show the server, PEM");
  AddText(app, "--tls-key", &tls->key_file, "FILE", "that certificate's private key, PEM");
  AddText(app, "--tls-server-name", &tls->server_name, "NAME",
          "the name in the server's certificate; default the host of --server");
}

void Define(CLI::App* app, RawOptions* raw) {
  app->footer(kProgramFooter);
  app->set_version_flag("--version", absl::StrCat("vmevents ", VMEVENTD_VERSION));
  AddText(app, "--server", &raw->server, "ADDR", "where vmeventd listens");
  AddTls(app, &raw->tls);
  AddText(app, "-o,--output", &raw->output, "FORMAT",
          "table for people, json for programs; default table");
  AddText(app, "--color", &raw->color, "WHEN",
          "auto, always or never; auto: on a terminal, unless $NO_COLOR is set");
  app->require_subcommand(0, 1);  // a missing command is reported below, with the commands' names
  AddWatch(app, raw);
  AddEvents(app, raw);
  AddVms(app, raw);
  AddIntent(app, raw);
  AddCommand(app, "info", "Show vmeventd's own state", kInfoFooter);
  AddHealth(app, raw);
}

absl::Status Wrong(absl::string_view what) { return absl::InvalidArgumentError(what); }

absl::Status SetServer(const CLI::App& app, const RawOptions& raw, const OptionContext& context,
                       CommandLine* line) {
  const bool given = app.count("--server") > 0;
  if (!given && context.server_variable.empty()) {
    line->server = DefaultServerAddress(context.uid, context.xdg_runtime_dir, context.may_exist);
    return absl::OkStatus();
  }
  const auto address = ParseServerAddress(given ? raw.server : context.server_variable);
  if (!address.ok()) {
    return Wrong(
        absl::StrCat(given ? "--server" : "$VMEVENTS_SERVER", ": ", address.status().message()));
  }
  line->server = *address;
  return absl::OkStatus();
}

// Uses the options if any is given, otherwise the variables. A Unix socket ignores the variables,
// which may be set for other servers.
absl::Status SetTls(const CLI::App& app, const RawOptions& raw, const OptionContext& context,
                    ServerAddress* server) {
  std::string given;
  for (const char* option : {"--tls-ca", "--tls-cert", "--tls-key", "--tls-server-name"}) {
    if (app.count(option) == 0) continue;
    if (app.get_option(option)->as<std::string>().empty()) {
      return Wrong(absl::StrCat(option, ": the text is empty"));
    }
    if (given.empty()) given = option;
  }
  if (!given.empty() && server->is_unix()) {
    return Wrong(absl::StrCat(given, ": a Unix socket (", ToText(*server),
                              ") has no TLS: omit it, or name HOST:PORT with --server"));
  }
  const TlsOptions& tls = given.empty() ? context.tls_variables : raw.tls;
  const bool any = !tls.ca_file.empty() || !tls.cert_file.empty() || !tls.key_file.empty() ||
                   !tls.server_name.empty();
  if (!any || server->is_unix()) return absl::OkStatus();
  if (given.empty()) given = "$VMEVENTS_TLS_*";
  if (tls.ca_file.empty()) {
    return Wrong(
        absl::StrCat(given, ": TLS needs --tls-ca FILE, the CA of the server's certificate"));
  }
  if (tls.cert_file.empty() != tls.key_file.empty()) {
    return Wrong(tls.key_file.empty()
                     ? "--tls-cert: its private key is missing: give --tls-key FILE"
                     : "--tls-key: its certificate is missing: give --tls-cert "
                       "FILE");
  }
  server->tls = tls;
  return absl::OkStatus();
}

absl::Status SetStyle(const RawOptions& raw, CommandLine* line) {
  if (raw.output == "json") {
    line->format = OutputFormat::kJson;
  } else if (raw.output != "table") {
    return Wrong(absl::StrCat("-o: \"", raw.output, "\" is not a format; use table or json"));
  }
  if (raw.color == "always") {
    line->color = ColorMode::kAlways;
  } else if (raw.color == "never") {
    line->color = ColorMode::kNever;
  } else if (raw.color != "auto") {
    return Wrong(
        absl::StrCat("--color: \"", raw.color, "\" is not a choice; use auto, always or never"));
  }
  return absl::OkStatus();
}

absl::StatusOr<WatchCommand> MakeWatch(const CLI::App& app, const RawOptions& raw,
                                       const OptionContext& context) {
  if (app.count("--from") > 0 && raw.from.empty()) {
    return Wrong("--from: the text is empty; give a sequence number, oldest, snapshot or a time");
  }
  if (app.count("--journal") > 0 && raw.journal.empty()) {
    return Wrong("--journal: the text is empty; `vmevents info` shows the journal's id");
  }
  const auto start = ParseWatchStart(raw.from, raw.journal, context.now, context.zone);
  if (!start.ok()) return start.status();
  const auto filter = ParseFilter(raw.vms, raw.types, raw.classes);
  if (!filter.ok()) return filter.status();
  const auto count = ParseCount("--count", app.count("--count") > 0, raw.count);
  if (!count.ok()) return count.status();
  WatchCommand command;
  command.start = *start;
  command.filter = *filter;
  command.count = *count;
  command.resume = !raw.no_resume;
  command.wait = raw.wait;
  return command;
}

absl::StatusOr<EventsCommand> MakeEvents(const CLI::App& app, const RawOptions& raw,
                                         const OptionContext& context) {
  const auto filter = ParseFilter(raw.vms, raw.types, raw.classes);
  if (!filter.ok()) return filter.status();
  const auto since =
      ParseTimeOption("--since", app.count("--since") > 0, raw.since, context.now, context.zone);
  if (!since.ok()) return since.status();
  const auto until =
      ParseTimeOption("--until", app.count("--until") > 0, raw.until, context.now, context.zone);
  if (!until.ok()) return until.status();
  if (*since && *until && **since >= **until) {
    return Wrong("--since is not before --until, so no event can match; swap the two");
  }
  const auto limit = ParseCount("--limit", app.count("--limit") > 0, raw.limit);
  if (!limit.ok()) return limit.status();
  EventsCommand command;
  command.filter = *filter;
  command.since = *since;
  command.until = *until;
  command.newest_first = raw.newest_first;
  command.limit = *limit;
  return command;
}

absl::StatusOr<VmsCommand> MakeVms(const RawOptions& raw) {
  const auto globs = ParseFilter(raw.vms, {}, {});
  if (!globs.ok()) return globs.status();
  const auto states = ParseStates(raw.states);
  if (!states.ok()) return states.status();
  VmsCommand command;
  command.names = raw.vms;
  command.states = *states;
  // A request for stopped VMs implies that they are listed.
  command.include_stopped =
      raw.all || std::find(states->begin(), states->end(), v1::VM_STATE_STOPPED) != states->end();
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

absl::StatusOr<DeclareIntentCommand> MakeDeclareIntent(const CLI::App& app, const RawOptions& raw) {
  absl::Status status = CheckText("NAME", raw.name);
  // CLI11's own "required" would name only one of them, without saying what it is for.
  if (status.ok() && app.count("--actor") == 0) status = Wrong("--actor: say who is about to act");
  if (status.ok()) status = CheckText("--actor", raw.actor);
  if (status.ok() && app.count("--reason") == 0) status = Wrong("--reason: say why");
  if (status.ok()) status = CheckText("--reason", raw.reason);
  if (status.ok() && app.count("--run") > 0) status = CheckText("--run", raw.run_id);
  if (!status.ok()) return status;
  DeclareIntentCommand command = {raw.name, raw.run_id, raw.actor, raw.reason, std::nullopt};
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

template <typename Command>
absl::Status Store(absl::StatusOr<Command> command, CommandLine* line) {
  if (!command.ok()) return command.status();
  line->command = *std::move(command);
  return absl::OkStatus();
}

absl::Status ConvertIntent(const CLI::App& intent, const RawOptions& raw, CommandLine* line) {
  if (intent.get_subcommands().empty()) {
    return Wrong(absl::StrCat("intent: no action is given; the actions are ", kIntentCommands));
  }
  const CLI::App& command = *intent.get_subcommands().front();
  if (command.get_name() == "declare") return Store(MakeDeclareIntent(command, raw), line);
  return Store(MakeWithdrawIntent(raw), line);
}

absl::Status Convert(const CLI::App& app, const RawOptions& raw, const OptionContext& context,
                     CommandLine* line) {
  absl::Status status = SetServer(app, raw, context, line);
  if (status.ok()) status = SetTls(app, raw, context, &line->server);
  if (status.ok()) status = SetStyle(raw, line);
  if (!status.ok()) return status;
  const CLI::App& command = *app.get_subcommands().front();
  if (command.get_name() == "watch") return Store(MakeWatch(command, raw, context), line);
  if (command.get_name() == "events") return Store(MakeEvents(command, raw, context), line);
  if (command.get_name() == "vms") return Store(MakeVms(raw), line);
  if (command.get_name() == "vm") return Store(MakeVm(command, raw), line);
  if (command.get_name() == "intent") return ConvertIntent(command, raw, line);
  if (command.get_name() == "health") return Store(MakeHealth(command, raw), line);
  line->command = InfoCommand{};
  return absl::OkStatus();
}

Answered Complain(const CLI::App& app, absl::string_view what) {
  const auto commands = app.get_subcommands();
  const std::string command = commands.empty() ? "" : absl::StrCat(" ", commands[0]->get_name());
  const absl::string_view sentence = absl::StripTrailingAsciiWhitespace(what);
  return {ExitCode::kUsage, "",
          absl::StrCat(EscapeForTerminal(sentence), " (see vmevents", command, " --help)")};
}

// Uses CLI11's own message if it is good enough.
std::string ExplainParseError(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> extras = app.remaining(true);
  const bool has_extras = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError);
  if (!has_extras || extras.empty()) return error.what();
  const bool has_command = !app.get_subcommands().empty();
  return absl::StrCat("\"", extras.front(), "\" is not known here",
                      has_command ? "" : absl::StrCat("; the commands are ", kCommands));
}

}  // namespace

std::variant<CommandLine, Answered> ParseCommandLine(const std::vector<std::string>& arguments,
                                                     const OptionContext& context) {
  RawOptions raw;
  CLI::App app(kProgramHelp, "vmevents");
  Define(&app, &raw);
  try {
    // CLI11 takes the arguments in reverse order.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return Complain(app, ExplainParseError(app, error));
    std::ostringstream out;
    std::ostringstream ignored;
    app.exit(error, out, ignored);
    return Answered{ExitCode::kOk, out.str(), ""};
  }
  if (app.get_subcommands().empty()) {
    return Complain(app, absl::StrCat("no command is given; the commands are ", kCommands));
  }
  CommandLine line;
  const absl::Status status = Convert(app, raw, context, &line);
  if (!status.ok()) return Complain(app, status.message());
  return line;
}

}  // namespace vmeventd::client
