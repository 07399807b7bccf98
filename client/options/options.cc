#include "client/options/options.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/quote.h"
#include "client/options/commands.h"
#include "client/options/completion.h"
#include "client/options/definitions.h"
#include "client/options/hints.h"
#include "client/options/option_values.h"
#include "client/options/servers.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

constexpr char kCommands[] =
    "watch, push, events, vms, vm, top, timeline, fleet, intent, info, health, doctor, context, "
    "help, version and completion";
constexpr char kContextCommands[] = "context list, context add, context use and context delete";
constexpr char kIntentCommands[] = "intent declare, intent list and intent withdraw";

absl::Status SetStyle(const RawOptions& raw, CommandLine* line) {
  static const auto* const kFormats = new std::map<std::string, OutputFormat>{
      {"table", OutputFormat::kTable}, {"wide", OutputFormat::kWide},
      {"json", OutputFormat::kJson},   {"jsonl", OutputFormat::kJson},
      {"yaml", OutputFormat::kYaml},   {"name", OutputFormat::kName}};
  const auto format = kFormats->find(raw.output);
  if (format == kFormats->end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "-o: \"", raw.output, "\" is not a format; use table, wide, json, jsonl, yaml or name",
        HintForValue("--output", raw.output)));
  }
  line->format = format->second;
  if (raw.color == "always") {
    line->color = ColorMode::kAlways;
  } else if (raw.color == "never") {
    line->color = ColorMode::kNever;
  } else if (raw.color != "auto") {
    return absl::InvalidArgumentError(absl::StrCat("--color: \"", raw.color,
                                                   "\" is not a choice; use auto, always or never",
                                                   HintForValue("--color", raw.color)));
  }
  line->headings = !raw.no_headers;
  line->pager = !raw.no_pager;
  return absl::OkStatus();
}

template <typename Command>
absl::Status Store(absl::StatusOr<Command> command, CommandLine* line) {
  if (!command.ok()) return command.status();
  line->command = *std::move(command);
  return absl::OkStatus();
}

absl::Status ConvertIntent(const CLI::App& intent, const RawOptions& raw,
                           const OptionContext& context, CommandLine* line) {
  if (intent.get_subcommands().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("intent: no action is given; the actions are ", kIntentCommands));
  }
  const CLI::App& command = *intent.get_subcommands().front();
  if (command.get_name() == "list")
    return Store(absl::StatusOr<IntentsCommand>(IntentsCommand{}), line);
  if (command.get_name() == "declare") return Store(MakeDeclareIntent(command, raw, context), line);
  return Store(MakeWithdrawIntent(raw), line);
}

absl::Status ConvertFleet(const CLI::App& fleet, const RawOptions& raw, CommandLine* line) {
  if (fleet.get_subcommands().empty()) {
    return Store(absl::StatusOr<FleetCommand>(FleetCommand{}), line);
  }
  constexpr int kMaxReplicas = 5;  // JetStream's limit
  FleetCreateCommand create;
  if (!raw.replicas.empty() && (!absl::SimpleAtoi(raw.replicas, &create.replicas) ||
                                create.replicas < 1 || create.replicas > kMaxReplicas)) {
    return absl::InvalidArgumentError(absl::StrCat("--replicas: ", Quote(raw.replicas),
                                                   " is not a number from 1 to ", kMaxReplicas));
  }
  return Store(absl::StatusOr<FleetCreateCommand>(create), line);
}

// A file as the configuration file must name it, which may be in another directory.
std::string Absolute(const std::string& file, const OptionContext& context) {
  return file.empty() || absl::StartsWith(file, "/") ? file
                                                     : absl::StrCat(context.directory, "/", file);
}

absl::StatusOr<ContextWriteCommand> MakeContextAdd(const CLI::App& app, const RawOptions& raw,
                                                   OptionContext context) {
  const absl::Status name = CheckText("NAME", raw.name);
  if (!name.ok()) return name;
  if (app.count("--server") == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("context add: no server is given; write `vmevents context add ", raw.name,
                     " --server ADDR`"));
  }
  if (context.config_path.empty()) {
    return absl::InvalidArgumentError(
        "context add: there is no place for a configuration file; set $VMEVENTS_CONFIG or $HOME");
  }
  context.config_required = false;  // it is made
  const absl::StatusOr<Contexts> contexts = ReadContexts(context);
  if (!contexts.ok()) return contexts.status();
  if (contexts->Find(raw.name) != nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("there is a context \"", raw.name,
                                                   "\" already; choose another name, or edit ",
                                                   context.config_path));
  }
  CommandLine asked;
  absl::Status status = ConvertServers(app, raw, context, &asked);
  if (!status.ok()) return status;
  Context added = {raw.name, {}, raw.tls, Absolute(raw.credentials, context), raw.nats_domain};
  for (const std::string& server : raw.servers) {
    for (const absl::string_view one : absl::StrSplit(server, ',')) added.servers.emplace_back(one);
  }
  for (std::string* file : {&added.tls.ca_file, &added.tls.cert_file, &added.tls.key_file}) {
    *file = Absolute(*file, context);
  }
  const absl::StatusOr<std::string> present = context.read_config(context.config_path);
  if (!present.ok() && !absl::IsNotFound(present.status())) return present.status();
  auto content = WithContext(present.ok() ? *present : "", added, context.config_path);
  if (!content.ok()) return content.status();
  return ContextWriteCommand{context.config_path, *std::move(content)};
}

absl::Status ConvertContext(const CLI::App& app, const CLI::App& parent, const RawOptions& raw,
                            const OptionContext& context, CommandLine* line) {
  if (parent.get_subcommands().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("context: no action is given; the actions are ", kContextCommands));
  }
  if (parent.get_subcommands().front()->get_name() == "add") {
    return Store(MakeContextAdd(app, raw, context), line);
  }
  const absl::StatusOr<Contexts> contexts = ReadContexts(context);
  if (!contexts.ok()) return contexts.status();
  const std::string& action = parent.get_subcommands().front()->get_name();
  if (action == "list") {
    line->command = ContextListCommand{*contexts};
    return absl::OkStatus();
  }
  if (contexts->Find(raw.name) == nullptr) return NoSuchContext(raw.name, *contexts, context);
  const absl::StatusOr<std::string> content = context.read_config(context.config_path);
  if (!content.ok()) return content.status();
  if (action == "use") {
    line->command = ContextWriteCommand{context.config_path, WithCurrent(*content, raw.name)};
    return absl::OkStatus();
  }
  auto without = WithoutContext(*content, raw.name, context.config_path);
  if (!without.ok()) return without.status();
  const bool was_current = contexts->current == raw.name;
  line->command = ContextWriteCommand{
      context.config_path, *std::move(without),
      was_current ? absl::StrCat("\"", EscapeForTerminal(raw.name),
                                 "\" was the current context; there is none now, so that "
                                 "without --server this node's vmeventd is asked")
                  : ""};
  return absl::OkStatus();
}

absl::Status Convert(const CLI::App& app, const RawOptions& raw, OptionContext context,
                     CommandLine* line) {
  if (raw.utc) context.zone = absl::UTCTimeZone();
  line->zone = context.zone;
  absl::Status status = SetStyle(raw, line);
  if (!status.ok()) return status;
  const CLI::App& command = *app.get_subcommands().front();
  if (command.get_name() == "context") return ConvertContext(app, command, raw, context, line);
  if (command.get_name() == "doctor") {
    line->command = DoctorCommand{};
    return ConvertOwnServer(app, raw, context, line);
  }
  if (command.get_name() == "push" && raw.status) {  // no server is asked
    return Store(MakePush(command, raw, context), line);
  }
  status = ConvertServers(app, raw, context, line);
  if (status.ok()) status = CheckFleetOptions(command, raw, line);
  if (!status.ok()) return status;
  if (command.get_name() == "push") return Store(MakePush(command, raw, context), line);
  if (command.get_name() == "watch") return Store(MakeWatch(command, raw, context), line);
  if (command.get_name() == "events") {
    if (raw.follow) return Store(MakeFollow(command, raw, context), line);
    if (command.count("--cursor-file") > 0) {
      return absl::InvalidArgumentError(
          "--cursor-file: a list has no position to keep; use it with --follow");
    }
    return Store(MakeEvents(command, raw, context), line);
  }
  if (command.get_name() == "vms") return Store(MakeVms(raw), line);
  if (command.get_name() == "vm") return Store(MakeVm(command, raw), line);
  if (command.get_name() == "top") return Store(MakeTop(command, raw), line);
  if (command.get_name() == "timeline") return Store(MakeTimeline(command, raw, context), line);
  if (command.get_name() == "intent") return ConvertIntent(command, raw, context, line);
  if (command.get_name() == "health") return Store(MakeHealth(command, raw), line);
  if (command.get_name() == "fleet") return ConvertFleet(command, raw, line);
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
  // In "get vms" the word stands before the command.
  const auto at = [&](const std::string& word) {
    return std::find(arguments.begin(), arguments.end(), word);
  };
  const bool is_word = !absl::StartsWith(extras.front(), "-");
  const bool is_before = !commands.empty() && at(extras.front()) < at(commands[0]->get_name());
  const std::string hint = HintFor(is_word && is_before ? app : *command, extras.front());
  return absl::StrCat(
      "\"", extras.front(), "\" is not known here", hint,
      commands.empty() && hint.empty() ? absl::StrCat("; the commands are ", kCommands) : "");
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
  RawOptions raw;
  CLI::App app("", "vmevents");
  Define(&app, &raw);
  if (arguments.empty()) return ParseCommandLine({"--help"}, context);
  if (arguments.front() == kCompleteCommand) {
    const Completions found = Complete(app, {arguments.begin() + 1, arguments.end()});
    if (found.command.empty()) return Answered{ExitCode::kOk, found.lines, ""};
    auto lister = ParseCommandLine(found.command, context);
    if (auto* line = std::get_if<CommandLine>(&lister)) line->preface = found.lines;
    return lister;
  }
  try {
    // CLI11 takes the arguments in reverse order.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return Complain(app, ExplainParseError(app, arguments, error));
    std::ostringstream out;
    std::ostringstream ignored;
    app.exit(error, out, ignored);
    return Answered{ExitCode::kOk, out.str(), ""};
  }
  if (app.get_subcommands().empty()) {
    return Complain(app, absl::StrCat("no command is given; the commands are ", kCommands));
  }
  const CLI::App& command = *app.get_subcommands().front();
  if (command.get_name() == "completion") return AnswerCompletion(app, raw.name);
  if (command.get_name() == "version") return ParseCommandLine({"--version"}, context);
  if (command.get_name() == "help") {
    const auto is_named = [&raw](const CLI::App* one) { return one->get_name() == raw.names[0]; };
    if (!raw.names.empty() && app.get_subcommands(is_named).empty()) {
      const std::string hint = HintFor(app, raw.names[0]);
      return Complain(
          app, absl::StrCat("\"", raw.names[0], "\" is not a command",
                            hint.empty() ? absl::StrCat("; the commands are ", kCommands) : hint));
    }
    raw.names.emplace_back("--help");
    return ParseCommandLine(raw.names, context);
  }
  CommandLine line;
  const absl::Status status = Convert(app, raw, context, &line);
  if (!status.ok()) return Complain(app, status.message());
  return line;
}

}  // namespace vmeventd::client
