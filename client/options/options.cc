#include "client/options/options.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/cli/option_error.h"
#include "client/options/completion.h"
#include "client/options/hints.h"
#include "client/options/option_context.h"
#include "client/options/parser.h"
#include "client/options/reading.h"
#include "client/options/servers.h"
#include "client/output/terminal_text.h"
#include "client/sinks/sinks.h"

namespace vmeventd::client {
namespace {

// "; the commands are watch, push, ..."; empty: it has none.
std::string KnownCommands(const CLI::App& app) {
  if (CommandsOf(app).empty()) return "";
  const auto name = [](std::string* out, const CLI::App* one) { *out += one->get_name(); };
  return absl::StrCat("; the commands are ", absl::StrJoin(CommandsOf(app), ", ", name));
}

// The innermost command that was parsed: `declare` of "intent declare".
const CLI::App& LastCommand(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app : LastCommand(*commands.front());
}

Answered Complain(const CLI::App& app, absl::string_view what) {
  std::string names;
  for (const CLI::App* one = &LastCommand(app); one != &app; one = one->get_parent()) {
    names = absl::StrCat(" ", one->get_name(), names);
  }
  return {ExitCode::kUsage, "",
          absl::StrCat(EscapeForTerminal(absl::StripTrailingAsciiWhitespace(what)),
                       " (see vmevents", names, " --help)")};
}

// An option's name in a sentence: "since" of "--since" without dashes. An argument has none.
std::string NameIn(absl::string_view name, absl::string_view dashes) {
  return absl::ConsumePrefix(&name, "--") ? absl::StrCat(dashes, name) : std::string(name);
}

// Explains a word that the command does not take.
std::string ExplainExtra(const CLI::App& command, const std::string& word, bool after_dashes) {
  std::string hint = HintFor(command, word);
  if (absl::StartsWith(word, "-")) {
    if (after_dashes) {
      hint = "; options go before --";
    } else if (hint.empty() && word[1] != '-' && command.get_option_no_throw("--vm") != nullptr) {
      hint = absl::StrCat("; for a VM of that name write vm/", word, ", or put the name after --");
    }
  }
  return absl::StrCat("\"", word, "\" is not known here", hint,
                      hint.empty() ? KnownCommands(command) : "");
}

using OptionSet = std::set<CLI::Option*>;

// Explains that two options exclude each other, or that the first needs the second. CLI11 names
// them only in its sentence.
std::string ExplainPair(const CLI::App& app, const CLI::ParseError& error,
                        OptionSet (CLI::Option::*others)() const, bool other_is_given,
                        absl::string_view dashes) {
  for (const CLI::App* one = &LastCommand(app); one != nullptr; one = one->get_parent()) {
    for (const CLI::Option* option : one->get_options()) {
      if (option->empty()) continue;
      for (const CLI::Option* other : (option->*others)()) {
        if (other->empty() == other_is_given) continue;
        const std::string name = NameIn(option->get_name(), dashes);
        const std::string other_name = NameIn(other->get_name(), dashes);
        if (!other_is_given) return absl::StrCat(name, " needs ", other_name);
        return absl::StrCat(name, " cannot be combined with ", other_name, "; use one of them");
      }
    }
  }
  return error.what();
}

// A fault of an option. CLI11's own sentence is shown if it has no better one.
std::string ExplainFault(const CLI::App& app, const CLI::ParseError& error,
                         absl::string_view dashes) {
  if (const auto* wrong = dynamic_cast<const OptionError*>(&error)) {
    return absl::StrCat(NameIn(wrong->option, dashes), wrong->option.empty() ? "" : ": ",
                        wrong->sentence);
  }
  if (dynamic_cast<const CLI::ExcludesError*>(&error) != nullptr) {
    return ExplainPair(app, error, &CLI::Option::get_excludes, true, dashes);
  }
  if (dynamic_cast<const CLI::RequiresError*>(&error) != nullptr) {
    return ExplainPair(app, error, &CLI::Option::get_needs, false, dashes);
  }
  return error.what();
}

// Finds the option by its name, in the command or in the commands above it; null: there is none.
const CLI::Option* FindOption(const CLI::App& app, const std::string& name) {
  for (const CLI::App* one = &LastCommand(app); one != nullptr; one = one->get_parent()) {
    if (const CLI::Option* option = one->get_option_no_throw(name)) return option;
  }
  return nullptr;
}

std::string ExplainParseError(const CLI::App& app, const std::vector<std::string>& arguments,
                              const CLI::ParseError& error) {
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    // The last word is an option that lacks its value.
    const CLI::Option* option = FindOption(app, arguments.back());
    if (option != nullptr) {
      return absl::StrCat(option->get_name(), " needs a value: ", option->get_type_name());
    }
  }
  const CLI::App& last = LastCommand(app);
  const bool lacks_command =
      error.get_exit_code() == static_cast<int>(CLI::ExitCodes::RequiredError) &&
      last.get_require_subcommand_min() > 0;
  // For extra words CLI11's error has the command's name.
  const bool has_extras = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError);
  const std::vector<std::string> extras = app.remaining(true);
  if (!extras.empty() && (has_extras || lacks_command)) {
    const std::string& word = extras.front();
    return ExplainExtra(last, word, absl::c_find(arguments, "--") < absl::c_find(arguments, word));
  }
  return lacks_command ? absl::StrCat("no command is given", KnownCommands(last))
                       : ExplainFault(app, error, "--");
}

// Returns whether an option of that name, of any command, takes a value.
bool TakesValue(const CLI::App& app, const std::string& name) {
  const CLI::Option* option = app.get_option_no_throw(name);
  if (option != nullptr) return option->get_items_expected_min() > 0;
  return absl::c_any_of(app.get_subcommands({}),
                        [&](const CLI::App* one) { return TakesValue(*one, name); });
}

// CLI11 takes "[a,b]" for a list if an option may have several values: a NUL, which no argument
// has, marks it as one value.
std::string AsOneValue(std::string value) {
  if (absl::StartsWith(value, "[") && absl::EndsWith(value, "]")) value.push_back('\0');
  return value;
}

}  // namespace

void Parse(CLI::App* app, std::vector<std::string> arguments) {
  if (!arguments.empty() && arguments[0] == "get") arguments.erase(arguments.begin());  // kubectl
  bool has_options = true;
  bool is_value = false;  // the word is an option's value, which stays unchanged
  for (std::string& word : arguments) {
    has_options = has_options && word != "--";
    uint64_t count = 0;
    if (has_options && !is_value && (word == "-la" || word == "-al"))
      word = "--all";  // as ls has it
    if (has_options && !is_value && word[0] == '-' && absl::SimpleAtoi(word.substr(1), &count)) {
      word.insert(1, "-last=");  // "-20", as tail has it
    }
    is_value = absl::StartsWith(word, "-") && TakesValue(*app, word);
    word = AsOneValue(word);
  }
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes the last first
  app->parse(std::move(arguments));
}

std::variant<CommandLine, Answered> ParseCommandLine(const std::vector<std::string>& arguments,
                                                     const OptionContext& context) {
  if (arguments.empty()) return ParseCommandLine({"--help"}, context);
  Reading reading = {.context = context};
  CLI::App app("", "vmevents");
  Define(&app, &reading, AllSinks());
  try {
    if (arguments.front() == kCompleteCommand) {
      return Complete(&app, &reading, {arguments.begin() + 1, arguments.end()});
    }
    Parse(&app, arguments);
    const std::string& command = app.get_subcommands()[0]->get_name();
    if (command == "completion") return Answered{ExitCode::kOk, CompletionScript(reading.shell)};
    if (command == "version") {
      if (!reading.line.is_json()) return ParseCommandLine({"--version"}, context);
      return Answered{ExitCode::kOk, "{\"version\":\"" VMEVENTD_VERSION "\"}\n", ""};
    }
    if (command == "help") {
      std::vector<std::string> words =
          app.get_subcommand(command)->get_option("COMMAND")->results();
      const CLI::App* explained = &app;
      for (const std::string& word : words) {
        const auto named =
            explained->get_subcommands([&](const CLI::App* one) { return one->check_name(word); });
        if (named.empty()) return Complain(app, ExplainExtra(*explained, word, false));
        explained = named.front();
      }
      words.emplace_back("--help");
      return ParseCommandLine(words, context);
    }
    if (reading.line.format == OutputFormat::kCsv &&
        !std::holds_alternative<StatsCommand>(reading.line.command)) {
      Wrong("only stats prints csv; use json, and jq's @csv", "--output");
    }
    ReadServers(&app, &reading);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      // CLI11 handles --help only after it has parsed the value of each option.
      const bool asks_for_help = absl::c_any_of(
          arguments, [](const std::string& word) { return word == "-h" || word == "--help"; });
      if (asks_for_help) return Answered{ExitCode::kOk, app.help(), ""};
      return Complain(app, ExplainParseError(app, arguments, error));
    }
    std::ostringstream out;
    std::ostringstream ignored;
    app.exit(error, out, ignored);
    return Answered{ExitCode::kOk, out.str(), ""};
  }
  reading.line.zone = reading.context.zone;
  return std::move(reading.line);
}

const std::map<std::string, OptionKind>& OptionKinds(const std::string& command) {
  static const auto* const kOptions = [] {
    Reading reading;
    CLI::App app;
    Define(&app, &reading, AllSinks());
    auto* const all = new std::map<std::string, std::map<std::string, OptionKind>>();
    for (const CLI::App* one : app.get_subcommands({})) {
      for (const CLI::Option* option : one->get_options()) {
        (*all)[one->get_name()].emplace(
            NameIn(option->get_name(), ""),
            option->get_items_expected_max() > 0 ? OptionKind::kWithValue : OptionKind::kFlag);
      }
    }
    return all;
  }();
  return kOptions->at(command);
}

absl::StatusOr<CommandLine> ParseQuery(const std::string& command, const OptionValues& values,
                                       const Servers& servers, OptionContext context) {
  context.dashes = "";
  Reading reading = {.context = std::move(context)};
  CommandLine& line = reading.line;
  line.format = OutputFormat::kJson;
  line.servers = servers;
  line.servers.nodes.clear();  // the query's own nodes count first
  CLI::App app;
  Define(&app, &reading, AllSinks());
  CLI::App* const asked = app.get_subcommand(command);
  // CLI11 parses the results that its options already have together with the arguments.
  for (const auto& [name, value] : values) {
    CLI::Option* const option = asked->get_option_no_throw(absl::StrCat("--", name));
    (option != nullptr ? option : asked->get_option(name))->add_result(AsOneValue(value));
  }
  try {
    app.parse(std::vector<std::string>{command});
    if (line.servers.nodes.empty()) line.servers.nodes = servers.nodes;
    CheckServers(*asked, line, "");  // no query names a server
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(EscapeForTerminal(ExplainFault(app, error, "")));
  }
  line.zone = reading.context.zone;
  return std::move(line);
}

}  // namespace vmeventd::client
