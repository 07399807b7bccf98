#include "client/options/completion.h"

#include <cstddef>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/values.h"
#include "client/options/contexts.h"
#include "client/options/hints.h"
#include "client/options/parser.h"
#include "client/options/reading.h"
#include "client/options/servers.h"

namespace vmeventd::client {
namespace {

// Bash splits words at "=" and ":" too, so the line is split again, and what stands before the
// cursor's word is cut off. Bash inserts the answer as it stands, and a VM's name may be any text
// of another user, so it is quoted. In a word with a quotation mark nothing is offered.
constexpr char kBash[] = R"sh(_vmevents() {
  local line=${COMP_LINE:0:COMP_POINT} current=${COMP_WORDS[COMP_CWORD]} word
  local -a words
  COMPREPLY=()
  [[ $current != *[\"\'\`]* ]] || return
  read -a words <<<"$line"
  [[ $line != *[[:space:]] || $line == *\\[[:space:]] ]] || words+=('')
  [[ $current != = && $current != : ]] || current=
  current=${current//\\/}
  while IFS=$'\t' read -r word _; do
    [[ $word == "${words[-1]}"* ]] || continue
    word=${word#"${words[-1]%"$current"}"}
    [[ $word != *[^[:alnum:]_.,:=@/+-]* ]] || printf -v word %q "$word"
    COMPREPLY+=("$word")
  done < <(timeout 2 vmevents __complete "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _vmevents vmevents
)sh";

constexpr char kZsh[] = R"sh(#compdef vmevents
_vmevents() {
  local -a lines
  lines=("${(@f)$(timeout 2 vmevents __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  lines=("${(@)${(@)lines:#}//:/\\:}")
  lines=("${(@)lines/$'\t'/:}")
  if (( ${#lines} )); then _describe vmevents lines; else _files; fi
}
compdef _vmevents vmevents
)sh";

constexpr char kFish[] = R"sh(function __vmevents_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (timeout 2 vmevents __complete $words[2..-1] 2>/dev/null)
    if test (count $lines) -eq 0
        __fish_complete_path (commandline -ct)
    else
        printf '%s\n' $lines
    end
end
complete -c vmevents -f -a '(__vmevents_complete)'
)sh";

// Stands for the word at the cursor, which may be incomplete.
constexpr char kCursor[] = "\x01";

// The option or argument whose value is at the cursor; null: there is none.
const CLI::Option* AtCursor(const CLI::App* command) {
  for (; command != nullptr; command = command->get_parent()) {
    for (const CLI::Option* option : command->get_options()) {
      if (absl::c_linear_search(option->results(), kCursor)) return option;
    }
  }
  return nullptr;
}

void AppendCommands(const CLI::App& app, std::string* lines) {
  for (const CLI::App* one : CommandsOf(app)) {
    absl::StrAppend(lines, one->get_name(), "\t", one->get_description(), "\n");
  }
}

void AppendOptions(const CLI::App& app, const CLI::App& command, std::string* lines) {
  for (const std::string& name : OptionsOf(app)) {
    const CLI::Option* option = app.get_option(name);
    // Skips the program's help and version: the command has its own help.
    if (&app != &command && (option == app.get_help_ptr() || option == app.get_version_ptr())) {
      continue;
    }
    absl::StrAppend(lines, name, "\t", option->get_description(), "\n");
  }
}

// The names of the VMs, or the intents, that `command` lists.
CommandLine Names(CLI::App* app, Reading* reading, decltype(CommandLine::command) command) {
  reading->line.command = std::move(command);
  reading->line.format = OutputFormat::kName;
  reading->line.completes = true;
  ReadServers(app, reading);
  return reading->line;
}

}  // namespace

const char* CompletionScript(int shell) {
  static constexpr const char* kScripts[] = {kBash, kZsh, kFish};
  return kScripts[shell];
}

std::variant<CommandLine, Answered> Complete(CLI::App* app, Reading* reading,
                                             std::vector<std::string> words) {
  if (words.empty()) words.emplace_back();
  const std::string current = words.back();
  const bool is_option = absl::StartsWith(current, "-");
  // In "--output=js", the text after the "=" is completed.
  std::string before = is_option ? current.substr(0, current.find('=') + 1) : "";
  words.back() = absl::StrCat(before, kCursor);
  try {
    Parse(app, words);
  } catch (const CLI::ParseError& /*error*/) {  // the line is not complete
  }
  const CLI::App* command = app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  std::string lines;
  const CLI::Option* option = AtCursor(command);
  const bool is_argument = option == nullptr || !option->nonpositional();
  if (is_argument && !before.empty()) return Answered{};
  if (option != nullptr && (!is_argument || !is_option)) {
    const std::string name = option->get_name();
    // A list may have several values, separated by commas.
    const size_t comma = current.rfind(',');
    if (comma != current.npos) before = current.substr(0, comma + 1);
    if (name == "--vm" || name == "NAME") {
      if (!is_argument) reading->line.before = before;
      return Names(app, reading, VmsCommand{.include_stopped = command->get_name() != "declare"});
    }
    if (name == "INTENT_ID") return Names(app, reading, IntentsCommand{});
    if (name == "COMMAND") AppendCommands(*app, &lines);  // of `help`
    if (name == "--context") {
      for (const auto& [context, access] : ReadContexts(*app, reading->context).named) {
        absl::StrAppend(&lines, context, "\n");
      }
    }
    for (const std::string& value : ValuesOf(is_argument ? name : option->get_type_name())) {
      absl::StrAppend(&lines, before, value, "\n");
    }
    if (!is_argument) return Answered{ExitCode::kOk, lines, ""};
  }
  AppendOptions(*command, *command, &lines);
  if (command != app) AppendOptions(*app, *command, &lines);
  AppendCommands(*command, &lines);
  return Answered{ExitCode::kOk, lines, ""};
}

}  // namespace vmeventd::client
