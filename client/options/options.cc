#include "client/options/options.h"

#include <algorithm>
#include <sstream>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/options/parser.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

constexpr char kCommands[] =
    "watch, push, events, vms, vm, top, timeline, fleet, intent, info, health, doctor, context, "
    "help, version and completion";
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
  CLI::App app("", "vmevents");
  Define(&app);
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
  OptionReader options(app, context);
  if (options.command() == "completion") return AnswerCompletion(app, options.Text("SHELL"));
  if (options.command() == "version") return ParseCommandLine({"--version"}, context);
  if (options.command() == "help") {
    std::vector<std::string> words = options.Texts("COMMAND");
    const auto is_named = [&words](const CLI::App* one) { return one->get_name() == words[0]; };
    if (!words.empty() && app.get_subcommands(is_named).empty()) {
      const std::string hint = HintFor(app, words[0]);
      return Complain(
          app, absl::StrCat("\"", words[0], "\" is not a command",
                            hint.empty() ? absl::StrCat("; the commands are ", kCommands) : hint));
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
