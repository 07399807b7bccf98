#include <algorithm>
#include <initializer_list>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "client/options/binding.h"

namespace vmeventd::client {
namespace {

// Bash splits words at "=" and ":" too, so the line is split again, and what stands before the
// cursor's word is cut off.
constexpr char kBash[] = R"sh(_vmevents() {
  local line=${COMP_LINE:0:COMP_POINT} current=${COMP_WORDS[COMP_CWORD]} word
  local -a words
  read -ra words <<<"$line"
  [[ $line != *[[:space:]] ]] || words+=('')
  [[ $current != = && $current != : ]] || current=
  COMPREPLY=()
  while IFS=$'\t' read -r word _; do
    word=${word##*/}
    [[ $word != "${words[-1]}"* ]] || COMPREPLY+=("${word#"${words[-1]%"$current"}"}")
  done < <(timeout 2 vmevents __complete "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _vmevents vmevents
)sh";

constexpr char kZsh[] = R"sh(#compdef vmevents
_vmevents() {
  local -a lines
  lines=("${(@f)$(timeout 2 vmevents __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  lines=("${(@)${(@)lines:#}//:/\\:}")
  lines=("${(@)lines##*/}")
  lines=("${(@)lines/$'\t'/:}")
  if (( ${#lines} )); then _describe vmevents lines; else _files; fi
}
compdef _vmevents vmevents
)sh";

constexpr char kFish[] = R"sh(function __vmevents_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (timeout 2 vmevents __complete $words[2..-1] 2>/dev/null | string replace -r '^[^\t]*/' '')
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

// Follows the words before the cursor.
class Line {
 public:
  explicit Line(const CLI::App& app) : root_(app), command_(&app) {}

  void Take(const std::string& word) {
    if (option_ != nullptr) {
      if (word != "=") Value(word);
      return;
    }
    const size_t equals = absl::StartsWith(word, "--") ? word.find('=') : std::string::npos;
    if (const CLI::Option* option = Find(word.substr(0, equals))) {
      if (option->get_items_expected_max() == 0) return;
      option_ = option;
      if (equals != std::string::npos) Value(word.substr(equals + 1));
      return;
    }
    if (const CLI::App* next = FindCommand(*command_, word)) command_ = next;
  }

  Completions At(absl::string_view current) const {
    std::string before;
    const CLI::Option* option = option_;
    const size_t equals = absl::StartsWith(current, "--") ? current.find('=') : current.npos;
    if (option == nullptr && equals != current.npos) {
      option = Find(std::string(current.substr(0, equals)));
      before = std::string(current.substr(0, equals + 1));
      if (option == nullptr) return {};
    }
    if (option != nullptr) return Values(*option, current.substr(before.size()), before);
    Completions out;
    for (const CLI::Option* argument : command_->get_options()) {
      if (argument->nonpositional() || absl::StartsWith(current, "-")) continue;
      out = Values(*argument, current, "");
      if (!out.command.empty()) return out;
    }
    Options(*command_, {}, &out);
    if (command_ != &root_) Options(root_, {"-h", "--help", "--version"}, &out);
    for (const CLI::App* command : command_->get_subcommands({})) {
      absl::StrAppend(&out.lines, command->get_name(), "\t", command->get_description(), "\n");
    }
    return out;
  }

 private:
  const CLI::Option* Find(const std::string& name) const {
    if (!absl::StartsWith(name, "-")) return nullptr;
    const CLI::Option* option = command_->get_option_no_throw(name);
    return option != nullptr ? option : root_.get_option_no_throw(name);
  }
  void Value(const std::string& word) {
    // Options that choose the server whose VMs are named.
    const std::string name = option_->get_name();
    if (root_.get_option_no_throw(name) == option_ && name != "--output") {
      server_.insert(server_.end(), {name, word});
    }
    option_ = nullptr;
  }
  static void Options(const CLI::App& app, const std::vector<std::string>& but, Completions* out) {
    for (const CLI::Option* option : app.get_options()) {
      if (!option->nonpositional()) continue;
      const std::string names = option->get_name(false, true);
      const std::string help = absl::StrReplaceAll(option->get_description(), {{"\n", " "}});
      for (const absl::string_view name : absl::StrSplit(names, ',')) {
        if (std::find(but.begin(), but.end(), name) != but.end()) continue;
        absl::StrAppend(&out->lines, name, "\t", help, "\n");
      }
    }
  }
  Completions Values(const CLI::Option& option, absl::string_view current,
                     std::string before) const {
    Completions out;
    const std::string name = option.get_name();
    const bool positional = !option.nonpositional();
    const auto ask = [&](std::initializer_list<const char*> command) {
      out.command = server_;
      out.command.insert(out.command.end(), command.begin(), command.end());
    };
    if (name == "--context") {
      out.contexts = true;
    } else if (name == "--vm" || (positional && name == "NAME")) {
      ask({"-o", "name", "--no-pager", "vms", "--all"});
    } else if (positional && name == "INTENT_ID") {
      ask({"-o", "name", "intent", "list"});
    } else if (positional && name == "COMMAND") {  // argument of `help`
      for (const CLI::App* one : root_.get_subcommands({})) {
        absl::StrAppend(&out.lines, one->get_name(), "\t", one->get_description(), "\n");
      }
    }
    // A list may have several, separated by commas.
    const size_t comma = current.rfind(',');
    if (comma != current.npos) absl::StrAppend(&before, current.substr(0, comma + 1));
    std::vector<std::string> values = ValuesOf(name);
    if (values.empty()) values = ValuesOf(option.get_type_name());
    for (const std::string& value : values) absl::StrAppend(&out.lines, before, value, "\n");
    return out;
  }

  const CLI::App& root_;
  const CLI::App* command_;
  const CLI::Option* option_ = nullptr;  // the option whose value comes next
  std::vector<std::string> server_;
};

}  // namespace

const char* CompletionScript(size_t shell) {
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

Completions Complete(const CLI::App& app, const std::vector<std::string>& words) {
  if (words.empty()) return Line(app).At("");
  Line line(app);
  for (const std::string& word : WithoutAliases(app, {words.begin(), words.end() - 1})) {
    line.Take(word);
  }
  return line.At(words.back());
}

}  // namespace vmeventd::client
