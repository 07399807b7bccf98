#include <map>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/options/binding.h"

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

// "guest-down" for VM_STATE_GUEST_DOWN.
template <typename Enum>
std::vector<std::string> NamesOf() {
  std::vector<std::string> names = EnumNames(*google::protobuf::GetEnumDescriptor<Enum>());
  for (std::string& name : names) name = SubjectWord(name);
  return names;
}

void AddOptions(const CLI::App& app, const std::vector<std::string>& but, std::string* lines) {
  for (const CLI::Option* option : app.get_options()) {
    if (!option->nonpositional()) continue;
    const std::string names = option->get_name(false, true);
    const std::string help = absl::StrReplaceAll(option->get_description(), {{"\n", " "}});
    for (const absl::string_view name : absl::StrSplit(names, ',')) {
      if (!absl::c_linear_search(but, name)) absl::StrAppend(lines, name, "\t", help, "\n");
    }
  }
}

void AddCommands(const CLI::App& app, std::string* lines) {
  for (const CLI::App* one : app.get_subcommands({})) {
    absl::StrAppend(lines, one->get_name(), "\t", one->get_description(), "\n");
  }
}

// The options among the words that choose the server, with their values.
std::vector<std::string> ServerOptions(const CLI::App& app, const OwnWords& own) {
  std::vector<std::string> given;
  for (size_t i = 0; i < own.words.size(); ++i) {
    const size_t equals = own.words[i].find('=');
    const CLI::Option* option = app.get_option_no_throw(own.words[i].substr(0, equals));
    if (option == nullptr || option->get_expected_min() == 0) continue;
    if (option->get_name() == "--output") continue;
    given.push_back(own.words[i]);
    if (equals == std::string::npos && i + 1 < own.words.size()) given.push_back(own.words[++i]);
  }
  return given;
}

// Values of the option, each with `before` put in front.
Completions ValuesFor(const CLI::App& app, const OwnWords& own, const CLI::Option& option,
                      absl::string_view current, std::string before) {
  Completions out;
  const std::string name = option.get_name();
  const bool positional = !option.nonpositional();
  const auto ask = [&](const std::vector<std::string>& command) {
    out.command = ServerOptions(app, own);
    out.command.insert(out.command.end(), command.begin(), command.end());
  };
  if (name == "--context") {
    out.contexts = true;
  } else if (name == "--vm" || (positional && name == "NAME")) {
    ask({"-o", "name", "--no-pager", "vms"});
    if (own.command->get_name() != "declare") out.command.emplace_back("--all");
  } else if (positional && name == "INTENT_ID") {
    ask({"-o", "name", "intent", "list"});
  } else if (positional && name == "COMMAND") {  // argument of `help`
    AddCommands(app, &out.lines);
  }
  // A list may have several, separated by commas.
  const size_t comma = current.rfind(',');
  if (comma != current.npos) absl::StrAppend(&before, current.substr(0, comma + 1));
  std::vector<std::string> values = ValuesOf(name);
  if (values.empty()) values = ValuesOf(option.get_type_name());
  for (const std::string& value : values) absl::StrAppend(&out.lines, before, value, "\n");
  return out;
}

}  // namespace

const char* CompletionScript(int shell) {
  static constexpr const char* kScripts[] = {kBash, kZsh, kFish};
  return kScripts[shell];
}

std::vector<std::string> ValuesOf(const std::string& name) {
  static const auto* const kValues = new std::map<std::string, std::vector<std::string>>{
      {"--output", {"table", "wide", "json", "jsonl", "name"}},
      {"--format", {"cloudevents", "json"}},
      {"--color", {"auto", "always", "never"}},
      {"--exec-on-failure", {"stop", "retry", "skip"}},
      {"--sort-by", {"state", "name", "age", "ends", "class"}},
      {"--from", {"now", "oldest", "snapshot"}},
      {"TIME", {"today", "yesterday", "midnight"}},
      {"SERVICE",
       {"journal", "watch", "sources", "libvirt", "listen", "vmeventd.v1.VmEventService"}},
      {"SHELL", {"bash", "zsh", "fish"}},
      {"--class", NamesOf<v1::ShutdownClass>()},
      {"--cause", NamesOf<v1::ShutdownCause>()},
      {"--type", NamesOf<v1::EventType>()},
      {"--state", NamesOf<v1::VmState>()}};
  const auto found = kValues->find(name);
  return found == kValues->end() ? std::vector<std::string>() : found->second;
}

Completions Complete(const CLI::App& app, std::vector<std::string> words) {
  std::string current;
  if (!words.empty()) current = std::move(words.back());
  if (!words.empty()) words.pop_back();
  const OwnWords own = WithoutAliases(app, words);
  if (own.awaits != nullptr) return ValuesFor(app, own, *own.awaits, current, "");
  const size_t equals = current.find('=');
  if (absl::StartsWith(current, "--") && equals != std::string::npos) {
    const CLI::Option* option = FindOption(app, *own.command, current.substr(0, equals));
    if (option == nullptr) return {};
    return ValuesFor(app, own, *option, current.substr(equals + 1), current.substr(0, equals + 1));
  }
  Completions out;
  for (const CLI::Option* argument : own.command->get_options()) {
    if (argument->nonpositional() || absl::StartsWith(current, "-")) continue;
    out = ValuesFor(app, own, *argument, current, "");
    if (!out.command.empty()) return out;
  }
  AddOptions(*own.command, {}, &out.lines);
  if (own.command != &app) AddOptions(app, {"-h", "--help", "--version"}, &out.lines);
  AddCommands(*own.command, &out.lines);
  return out;
}

}  // namespace vmeventd::client
