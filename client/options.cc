#include "client/options.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/option_values.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

// The width of a help text.
constexpr size_t kHelpWidth = 80;
constexpr size_t kHelpColumn = 30;  // where CLI11 begins an option's description

constexpr char kProgramHelp[] =
    "Shows who ended the virtual machines of a node, and how vmeventd knows.";
constexpr char kProgramFooter[] =
    R"(ADDR is unix:PATH, HOST:PORT or HOST, whose port is 9555. Without --server it is
that of --context, else $VMEVENTS_SERVER, else that of the current context (see
vmevents context --help), else the user's socket
unix:$XDG_RUNTIME_DIR/vmeventd/vmeventd.sock if that exists, else the system's,
unix:/run/vmeventd/vmeventd.sock. A HOST with --tls-ca speaks TLS. If no --tls
option is given, the context's files count, or without a context
$VMEVENTS_TLS_CA, _CERT, _KEY and _SERVER_NAME.

Examples:
  vmevents watch                          what happens from now on
  vmevents vms                            the VMs that run
  vmevents vm web1                        one VM, with the verdict on its end
  vmevents events --since 1h --class crash
  vmevents -o json watch --from oldest    one JSON object a line, for programs

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not reachable.)";
constexpr char kWatchFooter[] =
    R"(A TIME is 2026-07-01T12:00:00Z, "2026-07-01 12:00:00" (local time), today,
yesterday, or how long ago: 10m, 2d. It reconnects when the daemon comes back,
with nothing lost or repeated; if events may be missing, it prints GAP on
standard error. Ctrl-C ends it with 0, or with 130 if --count was not reached.

With --exec it prints nothing and runs COMMAND with /bin/sh for each event, one
at a time: the event's fields are in $VMEVENTS_TYPE, _VM, _CLASS, _CAUSE,
_RUN_ID, _SEQUENCE, _TIME and so on, its JSON is on standard input. With
--cursor-file it continues after the last event that was printed, or whose
command ended with 0; after a crash the last ones come again.

Examples:
  vmevents watch --from snapshot          the VMs as they are, then what follows
  vmevents watch --vm 'web*' --type stopped --class user,admin
  vmevents watch --since 10m              the last ten minutes, and on
  vmevents watch --vm web1 --type stopped --count 1    until web1 has ended
  vmevents watch --type stopped --class crash --cursor-file crashes.cursor \
      --exec 'mail -s "$VMEVENTS_VM crashed" ops' --exec-on-failure retry
  vmevents -o json watch --from 4711 --journal JOURNAL_ID)";
constexpr char kEventsFooter[] =
    R"(TIME is 2026-07-01T12:00:00Z, "2026-07-01 12:00:00" (local time), today,
yesterday, or how long ago: 10m, 2d. On a terminal the list goes through a
pager: $VMEVENTS_PAGER, else $PAGER, else less.

Examples:
  vmevents events --since today --type stopped
  vmevents events -n 20                   the newest 20, oldest first
  vmevents events -n 20 -f                and then what happens
  vmevents -o json events --vm web1 --since 2026-07-01T00:00:00Z --until 1d)";
constexpr char kVmsFooter[] =
    R"(Examples:
  vmevents vms --all                      include stopped VMs
  vmevents vms --state paused --state unreachable
  vmevents -o json vms --vm 'web*')";
constexpr char kVmFooter[] =
    R"(Examples:
  vmevents vm web1
  vmevents vm web1 --run RUN_ID           an earlier run, or one of two)";
constexpr char kTopFooter[] =
    R"(It shows the VMs by state, the ends by class, the latest ends, the streams, and
how late events are. Ctrl-C ends it. Without a terminal it prints one frame.

Example:
  vmevents top --window 1h)";
constexpr char kTimelineFooter[] =
    R"(Each run of the VM is a bar, with the VM's states and how it ended. With -o json
and the other forms for programs it prints the events of the VM.

Examples:
  vmevents timeline web1
  vmevents timeline web1 --since yesterday)";
constexpr char kIntentFooter[] =
    R"(An intent says who is about to stop, migrate or kill a VM, and why: the stop
that follows is then an admin's, however it happens. It ends with the run, when
it expires, or when it is withdrawn.

Examples:
  vmevents intent declare web1 --actor alice --reason 'node is emptied'
  vmevents intent list
  vmevents intent withdraw INTENT_ID)";
constexpr char kDeclareFooter[] =
    R"(Example:
  vmevents intent declare web1 --actor mover --reason 'to node7' --ttl 5m)";
constexpr char kWithdrawFooter[] =
    R"(Example:
  vmevents intent withdraw 6a6f7572-6e61-4c00-8000-000000000001)";
constexpr char kIntentListFooter[] =
    R"(Example:
  vmevents intent list)";
constexpr char kInfoFooter[] =
    R"(Example:
  vmevents -o json info)";

constexpr char kHealthFooter[] =
    R"(SERVICE is vmeventd.v1.VmEventService, or journal: whether events are durable,
or watch: whether each directory of --watch is there. Without it, the server as
a whole. Exits with 0 if it is SERVING, 1 if it is not, 3 if there is no such
service, 4 if the server is not reachable.

Examples:
  vmevents health
  vmevents health --timeout 1s --server node1 --tls-ca ca.pem)";

constexpr char kDoctorFooter[] =
    R"(It looks for what keeps vmeventd on this node from following a VM: QEMUs without
a monitor that it may take, monitors that another client holds, QEMUs that hang,
directories that are missing, rights, descriptors, managers on the same socket.
Each finding comes with a line to paste. It connects to no monitor, changes
nothing, and asks vmeventd only if it answers: then the --watch flags are its own,
else those of /etc/vmeventd/vmeventd.conf. Run it as root. Exits with 0 if it
finds nothing, else with 1.

Examples:
  vmevents doctor
  vmevents -o json doctor | jq -r .line)";

constexpr char kContextFooter[] =
    R"(The configuration file is $VMEVENTS_CONFIG, else vmevents/config.toml in
$XDG_CONFIG_HOME or ~/.config:

  current = "prod"
  [contexts.prod]
  servers = ["node1", "node2"]
  tls-ca = "ca.pem"                       beside the file, as tls-cert and so on

Examples:
  vmevents context list
  vmevents --context prod vms             once
  vmevents context use prod               from now on)";
constexpr char kContextListFooter[] =
    R"(Example:
  vmevents context list)";
constexpr char kContextUseFooter[] =
    R"(Example:
  vmevents context use prod)";

constexpr char kCommands[] =
    "watch, events, vms, vm, top, timeline, intent, info, health, doctor and context";
constexpr char kContextCommands[] = "context list and context use";
constexpr size_t kMostServers = 64;
constexpr char kIntentCommands[] = "intent declare, intent list and intent withdraw";

// Of --last, which keeps its events in memory.
constexpr uint64_t kMostLast = 100'000;

// The options as typed.
struct RawOptions {
  std::vector<std::string> servers;
  std::string context;
  TlsOptions tls;
  std::string output = "table";
  std::string color = "auto";
  bool utc = false;
  bool no_headers = false;
  bool no_pager = false;
  std::vector<std::string> vms;
  std::vector<std::string> types;
  std::vector<std::string> classes;
  std::vector<std::string> sources;
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
  std::string last;
  bool follow = false;
  std::string cursor_file;
  std::string exec;
  std::string on_failure = "stop";
  bool all = false;
  std::string name;
  std::string run_id;
  std::string actor;
  std::string reason;
  std::string ttl;
  std::string intent_id;
  std::string service;
  std::string timeout;
  std::string interval;
  std::string window;
};

// CLI11 breaks no lines.
std::string Wrapped(const char* help) {
  return absl::StrJoin(WrapText(help, kHelpWidth - kHelpColumn), "\n");
}

void AddList(CLI::App* app, const char* option, std::vector<std::string>* values,
             const char* value_name, const char* help) {
  app->add_option(option, *values, Wrapped(help))->allow_extra_args(false)->type_name(value_name);
}

void AddText(CLI::App* app, const char* option, std::string* value, const char* value_name,
             const char* help) {
  app->add_option(option, *value, Wrapped(help))->type_name(value_name);
}

void AddFlag(CLI::App* app, const char* option, bool* value, const char* help) {
  app->add_flag(option, *value, Wrapped(help));
}

CLI::App* AddCommand(CLI::App* app, const char* name, const char* help, const char* footer) {
  CLI::App* command = app->add_subcommand(name, help);
  command->fallthrough();  // --server and -o may also follow the command
  command->footer(
      absl::StrCat("The options of vmevents itself, as --server and -o, go before or after the\n"
                   "command: see vmevents --help.\n\n",
                   footer));
  return command;
}

void AddSource(CLI::App* command, RawOptions* raw) {
  AddList(command, "--source", &raw->sources, "GLOB",
          "only VMs from such a source, as 'libvirt:*'; may be repeated");
}

void AddFilter(CLI::App* command, RawOptions* raw) {
  AddList(command, "--vm", &raw->vms, "GLOB", "only VMs of such a name; may be repeated");
  AddSource(command, raw);
  AddList(command, "--type", &raw->types, "TYPE",
          "only events of this type, as started or stopped; may be repeated");
  AddList(command, "--class", &raw->classes, "CLASS",
          "only ends by user, admin, crash or unknown; may be repeated");
}

void AddCursorFile(CLI::App* command, RawOptions* raw) {
  AddText(
      command, "--cursor-file", &raw->cursor_file, "FILE",
      "keep the position here, and continue from it; at first from where the other options say");
}

void AddWatch(CLI::App* app, RawOptions* raw) {
  CLI::App* watch = AddCommand(app, "watch", "Follow events as they happen", kWatchFooter);
  AddText(watch, "--from", &raw->from, "START",
          "begin after a sequence number, or at oldest, snapshot or a time; default now");
  AddText(watch, "--journal", &raw->journal, "ID",
          "the journal of that sequence number; default the server's present one");
  AddText(watch, "--since", &raw->since, "TIME", "begin with the events at or after this time");
  AddFilter(watch, raw);
  AddText(watch, "--count", &raw->count, "N", "end after N events");
  AddFlag(watch, "--no-resume", &raw->no_resume, "end when the daemon stops");
  AddFlag(watch, "--wait", &raw->wait, "wait for a daemon that cannot be reached yet");
  AddCursorFile(watch, raw);
  AddText(watch, "--exec", &raw->exec, "COMMAND", "run this for each event instead of printing it");
  AddText(watch, "--exec-on-failure", &raw->on_failure, "ACTION",
          "stop, retry (10 times, after 1s to 1m) or skip the event; default stop");
}

void AddEvents(CLI::App* app, RawOptions* raw) {
  CLI::App* events = AddCommand(app, "events", "List events of the past", kEventsFooter);
  AddText(events, "--since", &raw->since, "TIME", "only events at or after this time");
  AddText(events, "--until", &raw->until, "TIME", "only events before this time");
  AddFilter(events, raw);
  AddFlag(events, "-r,--newest-first", &raw->newest_first, "the newest at the top");
  AddText(events, "-n,--last", &raw->last, "N", "only the newest N events");
  AddText(events, "--limit", &raw->limit, "N", "only the first N events of the list");
  AddFlag(events, "-f,--follow", &raw->follow, "then follow events as they happen, as watch does");
  AddCursorFile(events, raw);
}

void AddVms(CLI::App* app, RawOptions* raw) {
  CLI::App* vms = AddCommand(app, "vms", "List the VMs", kVmsFooter);
  AddList(vms, "--vm", &raw->vms, "GLOB", "only VMs of such a name; may be repeated");
  AddSource(vms, raw);
  AddList(vms, "--state", &raw->states, "STATE",
          "only VMs in this state, as running or stopped; may be repeated");
  AddFlag(vms, "--all", &raw->all, "include stopped VMs");
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
  AddCommand(intent, "list", "List the open intents", kIntentListFooter);
  CLI::App* withdraw =
      AddCommand(intent, "withdraw", "Withdraw a declared intent", kWithdrawFooter);
  withdraw->add_option("INTENT_ID", raw->intent_id, "as printed by declare")
      ->required()
      ->type_name("");
}

void AddPictures(CLI::App* app, RawOptions* raw) {
  CLI::App* top = AddCommand(app, "top", "Watch the VMs of a node on a terminal", kTopFooter);
  AddText(top, "--interval", &raw->interval, "DURATION", "how often it is drawn; default 2s");
  AddText(top, "--window", &raw->window, "DURATION", "whose ends are counted; default 15m");
  CLI::App* timeline = AddCommand(app, "timeline", "Show the life of one VM", kTimelineFooter);
  timeline->add_option("NAME", raw->name, "the VM's name")->required()->type_name("");
  AddText(timeline, "--since", &raw->since, "TIME", "only from this time on");
  AddText(timeline, "--run", &raw->run_id, "RUN_ID", "only this run");
}

void AddHealth(CLI::App* app, RawOptions* raw) {
  CLI::App* health = AddCommand(app, "health", "Ask whether vmeventd serves", kHealthFooter);
  health->add_option("SERVICE", raw->service, "one of its services")->type_name("");
  AddText(health, "--timeout", &raw->timeout, "DURATION",
          "how long to wait for the answer, such as 1s; default 5s");
}

void AddContext(CLI::App* app, RawOptions* raw) {
  CLI::App* context = AddCommand(app, "context", "Choose among named servers", kContextFooter);
  context->require_subcommand(0, 1);
  AddCommand(context, "list", "List the contexts of the configuration file", kContextListFooter);
  CLI::App* use = AddCommand(context, "use", "Make a context the current one", kContextUseFooter);
  use->add_option("NAME", raw->name, "a context")->required()->type_name("");
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
  AddList(app, "--server", &raw->servers, "ADDR",
          "where vmeventd listens; watch, events and vms merge several of them");
  AddText(app, "--context", &raw->context, "NAME",
          "the TLS files, and without --server the servers, of this context in the configuration "
          "file");
  AddTls(app, &raw->tls);
  AddText(app, "-o,--output", &raw->output, "FORMAT",
          "table or wide for people; json, jsonl (the same), yaml or name for programs; default "
          "table");
  AddText(app, "--color", &raw->color, "WHEN",
          "auto, always or never; auto: on a terminal, unless $NO_COLOR is set");
  AddFlag(app, "--utc", &raw->utc, "times in UTC, not in the local time zone");
  AddFlag(app, "--no-headers", &raw->no_headers, "tables without their headings");
  AddFlag(app, "--no-pager", &raw->no_pager, "no pager for the lists of events and vms");
  app->require_subcommand(0, 1);  // a missing command is reported below, with the commands' names
  AddWatch(app, raw);
  AddEvents(app, raw);
  AddVms(app, raw);
  AddPictures(app, raw);
  AddIntent(app, raw);
  AddCommand(app, "info", "Show vmeventd's own state", kInfoFooter);
  AddHealth(app, raw);
  AddCommand(app, "doctor", "Find what keeps vmeventd from following VMs here", kDoctorFooter);
  AddContext(app, raw);
}

absl::Status Wrong(absl::string_view what) { return absl::InvalidArgumentError(what); }

absl::StatusOr<Contexts> ReadContexts(const OptionContext& context) {
  if (context.config_path.empty() || context.read_config == nullptr) return Contexts{};
  const absl::StatusOr<std::string> content = context.read_config(context.config_path);
  if (absl::IsNotFound(content.status())) return Contexts{};
  if (!content.ok()) return content.status();
  return ParseContexts(*content, context.config_path);
}

absl::Status NoSuchContext(absl::string_view name, const Contexts& contexts,
                           const OptionContext& context) {
  const auto name_of = [](std::string* out, const Context& one) { absl::StrAppend(out, one.name); };
  const std::string known =
      contexts.list.empty()
          ? absl::StrCat(
                context.config_path.empty() ? "no configuration file" : context.config_path,
                " has none")
          : absl::StrCat("the contexts are ", absl::StrJoin(contexts.list, ", ", name_of));
  return Wrong(absl::StrCat("there is no context \"", name, "\"; ", known));
}

// Where the servers come from, and their texts.
struct ServerChoice {
  std::string origin;              // completes "ORIGIN: ...", and "... from ORIGIN"
  std::vector<std::string> texts;  // empty: the default address
  std::optional<Context> context;
};

absl::StatusOr<ServerChoice> ChooseServers(const CLI::App& app, const RawOptions& raw,
                                           const OptionContext& context) {
  const bool named = app.count("--context") > 0;
  const bool given = app.count("--server") > 0;
  if (!named && given) return ServerChoice{"--server", raw.servers, std::nullopt};
  if (!named && !context.server_variable.empty()) {
    return ServerChoice{"$VMEVENTS_SERVER", {context.server_variable}, std::nullopt};
  }
  const absl::StatusOr<Contexts> contexts = ReadContexts(context);
  if (!contexts.ok()) return contexts.status();
  const std::string name = named ? raw.context : contexts->current;
  if (name.empty() && !named) return ServerChoice{};
  const Context* found = contexts->Find(name);
  if (found == nullptr) return NoSuchContext(name, *contexts, context);
  // With both, the option chooses among servers that have the context's TLS files.
  if (given) return ServerChoice{"--server", raw.servers, *found};
  return ServerChoice{absl::StrCat("context \"", name, "\""), found->servers, *found};
}

absl::Status SetServers(const ServerChoice& choice, const OptionContext& context,
                        CommandLine* line) {
  if (choice.texts.empty()) {
    line->servers = {DefaultServerAddress(context.uid, context.xdg_runtime_dir, context.may_exist)};
    return absl::OkStatus();
  }
  std::set<std::string> seen;
  for (const std::string& text : choice.texts) {
    const auto address = ParseServerAddress(text);
    if (!address.ok()) {
      return Wrong(absl::StrCat(choice.origin, ": ", address.status().message()));
    }
    if (seen.insert(ToText(*address)).second) line->servers.push_back(*address);
  }
  if (line->servers.size() > kMostServers) {
    return Wrong(absl::StrCat(choice.origin, ": ", line->servers.size(),
                              " servers are too many; name at most ", kMostServers));
  }
  return absl::OkStatus();
}

absl::Status CheckTls(const TlsOptions& tls, const std::string& given) {
  if (tls.ca_file.empty()) {
    return Wrong(
        absl::StrCat(given, ": TLS needs --tls-ca FILE, the CA of the server's certificate"));
  }
  if (tls.cert_file.empty() != tls.key_file.empty()) {
    return Wrong(tls.key_file.empty()
                     ? "--tls-cert: its private key is missing: give --tls-key FILE"
                     : "--tls-key: its certificate is missing: give --tls-cert FILE");
  }
  return absl::OkStatus();
}

// Uses the options if any is given, else the context's files if there is a context, else the
// variables. A Unix socket ignores the latter two, which may be set for other servers.
absl::Status SetTls(const CLI::App& app, const RawOptions& raw, const OptionContext& context,
                    const ServerChoice& choice, CommandLine* line) {
  std::string given;
  for (const char* option : {"--tls-ca", "--tls-cert", "--tls-key", "--tls-server-name"}) {
    if (app.count(option) == 0) continue;
    if (app.get_option(option)->as<std::string>().empty()) {
      return Wrong(absl::StrCat(option, ": the text is empty"));
    }
    if (given.empty()) given = option;
  }
  for (ServerAddress& server : line->servers) {
    if (given.empty() || !server.is_unix()) continue;
    return Wrong(absl::StrCat(given, ": a Unix socket (", ToText(server),
                              ") has no TLS; name a server with --server HOST:PORT"));
  }
  const TlsOptions& tls = !given.empty()   ? raw.tls
                          : choice.context ? choice.context->tls
                                           : context.tls_variables;
  const bool any = !tls.ca_file.empty() || !tls.cert_file.empty() || !tls.key_file.empty() ||
                   !tls.server_name.empty();
  const bool any_tcp = std::any_of(line->servers.begin(), line->servers.end(),
                                   [](const ServerAddress& server) { return !server.is_unix(); });
  if (!any || !any_tcp) return absl::OkStatus();
  if (given.empty()) given = choice.context ? choice.origin : "$VMEVENTS_TLS_*";
  if (absl::Status status = CheckTls(tls, given); !status.ok()) return status;
  for (ServerAddress& server : line->servers) {
    if (!server.is_unix()) server.tls = tls;
  }
  return absl::OkStatus();
}

// Only these commands merge what several servers answer.
absl::Status CheckServerCount(const CLI::App& command, const ServerChoice& choice,
                              const CommandLine& line) {
  const std::string& name = command.get_name();
  if (line.servers.size() == 1 || name == "watch" || name == "events" || name == "vms") {
    return absl::OkStatus();
  }
  return Wrong(absl::StrCat(choice.origin, ": ", name, " asks one server, and these are ",
                            line.servers.size(), "; name one with --server"));
}

absl::Status SetStyle(const RawOptions& raw, CommandLine* line) {
  static const auto* const kFormats = new std::map<std::string, OutputFormat>{
      {"table", OutputFormat::kTable}, {"wide", OutputFormat::kWide},
      {"json", OutputFormat::kJson},   {"jsonl", OutputFormat::kJson},
      {"yaml", OutputFormat::kYaml},   {"name", OutputFormat::kName}};
  const auto format = kFormats->find(raw.output);
  if (format == kFormats->end()) {
    return Wrong(absl::StrCat("-o: \"", raw.output,
                              "\" is not a format; use table, wide, json, jsonl, yaml or name"));
  }
  line->format = format->second;
  if (raw.color == "always") {
    line->color = ColorMode::kAlways;
  } else if (raw.color == "never") {
    line->color = ColorMode::kNever;
  } else if (raw.color != "auto") {
    return Wrong(
        absl::StrCat("--color: \"", raw.color, "\" is not a choice; use auto, always or never"));
  }
  line->headings = !raw.no_headers;
  line->pager = !raw.no_pager;
  return absl::OkStatus();
}

absl::Status SetCursorFile(const CLI::App& app, const RawOptions& raw, FollowCommand* command) {
  if (app.count("--cursor-file") > 0 && raw.cursor_file.empty()) {
    return Wrong("--cursor-file: the text is empty; name a file");
  }
  command->cursor_file = raw.cursor_file;
  return absl::OkStatus();
}

absl::Status SetExec(const CLI::App& app, const RawOptions& raw, FollowCommand* command) {
  if (app.count("--exec") > 0 && raw.exec.empty()) {
    return Wrong("--exec: the text is empty; give a command");
  }
  if (app.count("--exec-on-failure") > 0 && raw.exec.empty()) {
    return Wrong("--exec-on-failure: belongs to a command; use it with --exec COMMAND");
  }
  command->exec = raw.exec;
  if (raw.on_failure == "retry") {
    command->on_failure = OnFailure::kRetry;
  } else if (raw.on_failure == "skip") {
    command->on_failure = OnFailure::kSkip;
  } else if (raw.on_failure != "stop") {
    return Wrong(absl::StrCat("--exec-on-failure: \"", raw.on_failure,
                              "\" is not an action; use stop, retry or skip"));
  }
  return absl::OkStatus();
}

absl::StatusOr<WatchStart> MakeStart(const CLI::App& app, const RawOptions& raw,
                                     const OptionContext& context) {
  if (app.count("--from") > 0 && raw.from.empty()) {
    return Wrong("--from: the text is empty; give a sequence number, oldest, snapshot or a time");
  }
  if (app.count("--journal") > 0 && raw.journal.empty()) {
    return Wrong("--journal: the text is empty; `vmevents info` shows the journal's id");
  }
  const auto since =
      ParseTimeOption("--since", app.count("--since") > 0, raw.since, context.now, context.zone);
  if (!since.ok()) return since.status();
  if (!*since) return ParseWatchStart(raw.from, raw.journal, context.now, context.zone);
  if (app.count("--from") > 0 || app.count("--journal") > 0) {
    return Wrong("--since: --from says where to begin as well; use one of them");
  }
  return FromTime{**since};
}

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
  command.watch.count = *count;
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
    return Wrong("--since is not before --until, so no event can match; swap the two");
  }
  const auto limit = ParseCount("--limit", app.count("--limit") > 0, raw.limit);
  if (!limit.ok()) return limit.status();
  const auto last = ParseCount("--last", app.count("--last") > 0, raw.last);
  if (!last.ok()) return last.status();
  if (*last && *limit) return Wrong("--last: --limit limits the list as well; use one of them");
  if (*last && **last > kMostLast) {
    return Wrong(absl::StrCat("--last: ", **last, " is too large; give at most ", kMostLast,
                              ", or use --since"));
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

// `events -f`: the history that `events` has, and what follows.
absl::StatusOr<FollowCommand> MakeFollow(const CLI::App& app, const RawOptions& raw,
                                         const OptionContext& context) {
  const auto events = MakeEvents(app, raw, context);
  if (!events.ok()) return events.status();
  for (const char* option : {"--until", "--newest-first", "--limit"}) {
    if (app.count(option) > 0) {
      return Wrong(absl::StrCat("--follow: has no end, so that ", option,
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

absl::StatusOr<VmsCommand> MakeVms(const RawOptions& raw) {
  const auto globs = ParseFilter(raw.vms, {}, {}, raw.sources);
  if (!globs.ok()) return globs.status();
  const auto states = ParseStates(raw.states);
  if (!states.ok()) return states.status();
  VmsCommand command;
  command.names = raw.vms;
  command.sources = raw.sources;
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
  if (command.get_name() == "list")
    return Store(absl::StatusOr<IntentsCommand>(IntentsCommand{}), line);
  if (command.get_name() == "declare") return Store(MakeDeclareIntent(command, raw), line);
  return Store(MakeWithdrawIntent(raw), line);
}

absl::Status ConvertContext(const CLI::App& parent, const RawOptions& raw,
                            const OptionContext& context, CommandLine* line) {
  if (parent.get_subcommands().empty()) {
    return Wrong(absl::StrCat("context: no action is given; the actions are ", kContextCommands));
  }
  const absl::StatusOr<Contexts> contexts = ReadContexts(context);
  if (!contexts.ok()) return contexts.status();
  if (parent.get_subcommands().front()->get_name() == "list") {
    line->command = ContextListCommand{*contexts};
    return absl::OkStatus();
  }
  if (contexts->Find(raw.name) == nullptr) return NoSuchContext(raw.name, *contexts, context);
  const absl::StatusOr<std::string> content = context.read_config(context.config_path);
  if (!content.ok()) return content.status();
  line->command = ContextUseCommand{context.config_path, WithCurrent(*content, raw.name)};
  return absl::OkStatus();
}

// Only the daemon of this node is asked, whatever the context.
absl::Status ConvertDoctor(const CLI::App& app, const RawOptions& raw, const OptionContext& context,
                           CommandLine* line) {
  ServerChoice choice;
  if (app.count("--server") > 0) choice = {"--server", raw.servers, std::nullopt};
  const absl::Status status = SetServers(choice, context, line);
  if (!status.ok()) return status;
  if (line->servers.size() > 1 || !line->server().is_unix()) {
    return Wrong("--server: doctor looks at this node; leave it out, or name its unix:PATH");
  }
  line->command = DoctorCommand{};
  return absl::OkStatus();
}

absl::Status Convert(const CLI::App& app, const RawOptions& raw, OptionContext context,
                     CommandLine* line) {
  if (raw.utc) context.zone = absl::UTCTimeZone();
  line->zone = context.zone;
  absl::Status status = SetStyle(raw, line);
  if (!status.ok()) return status;
  const CLI::App& command = *app.get_subcommands().front();
  if (command.get_name() == "context") return ConvertContext(command, raw, context, line);
  if (command.get_name() == "doctor") return ConvertDoctor(app, raw, context, line);
  const absl::StatusOr<ServerChoice> choice = ChooseServers(app, raw, context);
  if (!choice.ok()) return choice.status();
  status = SetServers(*choice, context, line);
  if (status.ok()) status = SetTls(app, raw, context, *choice, line);
  if (status.ok()) status = CheckServerCount(command, *choice, *line);
  if (!status.ok()) return status;
  if (command.get_name() == "watch") return Store(MakeWatch(command, raw, context), line);
  if (command.get_name() == "events") {
    if (raw.follow) return Store(MakeFollow(command, raw, context), line);
    if (command.count("--cursor-file") > 0) {
      return Wrong("--cursor-file: a list has no position to keep; use it with --follow");
    }
    return Store(MakeEvents(command, raw, context), line);
  }
  if (command.get_name() == "vms") return Store(MakeVms(raw), line);
  if (command.get_name() == "vm") return Store(MakeVm(command, raw), line);
  if (command.get_name() == "top") return Store(MakeTop(command, raw), line);
  if (command.get_name() == "timeline") return Store(MakeTimeline(command, raw, context), line);
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
