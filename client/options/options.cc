#include "client/options/options.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/options/binding.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

// "; the commands are watch, push and so on".
std::string CommandsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* one : app.get_subcommands({})) names.push_back(one->get_name());
  return absl::StrCat("; the commands are ", JoinWords(names, " and "));
}

Answered Complain(const CLI::App& app, absl::string_view what) {
  std::string command;
  for (auto below = app.get_subcommands(); !below.empty();
       below = below.front()->get_subcommands()) {
    absl::StrAppend(&command, " ", below.front()->get_name());
  }
  const absl::string_view sentence = absl::StripTrailingAsciiWhitespace(what);
  return {ExitCode::kUsage, "",
          absl::StrCat(EscapeForTerminal(sentence), " (see vmevents", command, " --help)")};
}

// Uses CLI11's own message if it is good enough.
std::string ExplainParseError(const CLI::App& app, const std::vector<std::string>& arguments,
                              const CLI::ParseError& error) {
  std::string own = error.what();
  const std::string kind = error.get_name();
  if (kind == "ExcludesError") {
    return absl::StrCat(absl::StrReplaceAll(own, {{" excludes ", " cannot be combined with "}}),
                        "; use one of them");
  }
  if (kind == "RequiresError") return absl::StrReplaceAll(own, {{" requires ", " needs "}});
  if (kind == "ArgumentMismatch") {
    return absl::StrReplaceAll(own, {{": 1 required ", " needs a value: "}, {" missing", ""}});
  }
  const std::vector<std::string> extras = app.remaining(true);
  // CLI11 gives the error the command's name.
  const bool has_extras = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError);
  if (!has_extras || extras.empty()) return own;
  const auto commands = app.get_subcommands();
  const CLI::App* command = commands.empty() ? &app : commands.front();
  if (commands.size() == 1 && !command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
  }
  // The word stands before the command in "get vms".
  const auto at = [&](const std::string& word) { return absl::c_find(arguments, word); };
  const bool is_word = !absl::StartsWith(extras.front(), "-");
  const bool is_before = !commands.empty() && at(extras.front()) < at(commands[0]->get_name());
  std::string hint = HintFor(is_word && is_before ? app : *command, extras.front());
  if (!is_word && at("--") < at(extras.front())) {
    hint = "; options go before --";
  } else if (!is_word && hint.empty() && command->get_option_no_throw("--vm") != nullptr) {
    hint = absl::StrCat("; a VM of that name is vm/", extras.front(), ", or stands behind --");
  }
  if (extras.size() > 1 && extras.front() == "get") {
    if (std::string of_object = HintFor(app, extras[1]); !of_object.empty()) hint = of_object;
  }
  return absl::StrCat("\"", extras.front(), "\" is not known here", hint,
                      commands.empty() && hint.empty() ? CommandsOf(app) : "");
}

// Returns whether --help was read. CLI11 answers it only after each option took its value.
bool AsksForHelp(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return app.get_help_ptr()->count() > 0 || (!commands.empty() && AsksForHelp(*commands.front()));
}

std::variant<CommandLine, Answered> AnswerComplete(const Completions& found,
                                                   const OptionContext& context) {
  if (found.contexts) {
    std::string names;
    for (const Context& one : ReadContexts(context).list) absl::StrAppend(&names, one.name, "\n");
    return Answered{ExitCode::kOk, names, ""};
  }
  if (found.command.empty()) return Answered{ExitCode::kOk, found.lines, ""};
  return ParseCommandLine(found.command, context);
}

std::variant<CommandLine, Answered> AnswerHelp(const CLI::App& app,
                                               const std::vector<std::string>& commands,
                                               const OptionContext& context) {
  std::vector<std::string> words = WithoutAliases(app, commands).words;
  if (!words.empty() && FindCommand(app, words[0]) == nullptr) {
    const std::string hint = HintFor(app, words[0]);
    return Complain(app, absl::StrCat("\"", words[0], "\" is not a command",
                                      hint.empty() ? CommandsOf(app) : hint));
  }
  words.emplace_back("--help");
  return ParseCommandLine(words, context);
}

}  // namespace

std::variant<CommandLine, Answered> ParseCommandLine(const std::vector<std::string>& arguments,
                                                     const OptionContext& context) {
  if (arguments.empty()) return ParseCommandLine({"--help"}, context);
  Reading reading = {.context = context, .times = {context.now, context.zone}};
  reading.line.zone = context.zone;
  CLI::App app("", "vmevents");
  Define(&app, &reading);
  try {
    if (arguments.front() == kCompleteCommand) {
      return AnswerComplete(Complete(app, {arguments.begin() + 1, arguments.end()}), context);
    }
    // CLI11 takes the arguments in reverse order. Where several values may stand, "[a,b]" is a list
    // for it, and not a name: a NUL, which no argument has, marks it as one.
    std::vector<std::string> words = WithoutAliases(app, arguments).words;
    std::reverse(words.begin(), words.end());
    for (std::string& word : words) {
      if (absl::StartsWith(word, "[") && absl::EndsWith(word, "]")) word.push_back('\0');
    }
    app.parse(std::move(words));
    const auto commands = app.get_subcommands();
    if (commands.empty()) {
      return Complain(app, absl::StrCat("no command is given", CommandsOf(app)));
    }
    const std::string& command = commands.front()->get_name();
    if (command == "completion") return Answered{ExitCode::kOk, CompletionScript(reading.shell)};
    if (command == "version") {
      if (!reading.line.is_json()) return ParseCommandLine({"--version"}, context);
      return Answered{ExitCode::kOk, "{\"version\":\"" VMEVENTD_VERSION "\"}\n", ""};
    }
    if (command == "help") return AnswerHelp(app, TextsOf(*commands.front(), "COMMAND"), context);
    ReadServers(app, &reading);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      if (AsksForHelp(app)) return Answered{ExitCode::kOk, app.help(), ""};
      return Complain(app, ExplainParseError(app, arguments, error));
    }
    std::ostringstream out;
    std::ostringstream ignored;
    app.exit(error, out, ignored);
    return Answered{ExitCode::kOk, out.str(), ""};
  }
  return std::move(reading.line);
}

}  // namespace vmeventd::client
