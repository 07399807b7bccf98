#include <algorithm>
#include <functional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "base/text.h"
#include "client/options/binding.h"

namespace vmeventd::client {
namespace {

// Words of other programs, separated by blanks, and this program's answer: to an alias the words
// that replace it, to others a name for the hint, and after a semicolon the rest of its sentence.
struct Words {
  absl::string_view scope;  // a command; empty: any
  absl::string_view typed;
  absl::string_view answer;
};

// "get+vms" is two words.
constexpr Words kCommandAliases[] = {
    {"", "crashes", "events --type stopped --class crash --newest-first"},
    {"", "tail", "events --last 10"},
    {"", "list get+vms get+vm", "vms"},
    {"", "log journal get+events get+event", "events"},
    {"", "show inspect dominfo domstate describe+vm describe+vms", "why"},
    {"", "follow monitor", "watch"},
    {"", "stats", "top"},
    {"", "intents get+intents get+intent", "intent list"},
    {"", "declare", "intent declare"},
    {"", "withdraw", "intent withdraw"},
};

constexpr Words kOptionAliases[] = {
    {"", "--no-color --no-colour", "--color never"},
    {"", "--json", "-o json"},
    {"", "--wide", "-o wide"},
    {"events", "-w --watch", "--follow"},
    {"events", "--tail --lines", "--last"},
    {"events", "--reverse", "--newest-first"},
    {"events", "-S", "--since"},
    {"events", "-U", "--until"},
    {"events", "-u", "--vm"},
    {"events", "-A -a --all", ""},
    {"watch", "-f --follow", ""},
    {"vms", "-A --all-namespaces -la -al -lah", "--all"},
    {"vms", "--inactive", "--state stopped"},
    {"why", "-a -A --all", "*"},
    {"why", "--reason", ""},
    {"top", "-b --no-stream", "--once"},
    {"version", "--client --short", ""},
};

constexpr absl::string_view kStopsNothing =
    "; vmevents starts, stops and changes no VM: use virsh, qm or systemctl, and declare who does "
    "it with `intent declare`";

constexpr Words kCommandWords[] = {
    {"", "get list-units instances domains machines", "vms"},
    {"", "event audit last dmesg journalctl", "events, or watch for what happens"},
    {"", "crash crashed coredumpctl failed failures", "crashes"},
    {"", "subscribe qemu-monitor-event stream", "watch"},
    {"", "wait", "watch NAME --type stopped --count 1"},
    {"", "timeline reason cause domjobinfo domid domuuid domcontrol domblkerror", "why NAME"},
    {"", "nodeinfo hostname uri cluster-info system", "info"},
    {"", "stat domstats", "top"},
    {"", "clients subscribers watchers", "streams"},
    {"", "ping healthz is-active", "health"},
    {"", "check diagnose debug", "doctor"},
    {"", "nodes node hosts", "info, or fleet for many nodes"},
    {"",
     "config context contexts get-contexts current-context use use-context connect set-context "
     "delete-context",
     "--context NAME; the contexts are in ~/.config/vmevents/config.toml, see vmevents(1)"},
    {"", "explain", "why NAME, or help"},
    {"", "man usage", "help"},
    {"", "completions", "completion"},
    {"", "webhook post notify", "push"},
    {"",
     "start stop restart shutdown destroy reboot reset kill rm delete run create apply edit pause "
     "unpause suspend resume undefine define scale drain cordon migrate save managedsave dump "
     "poweroff exec attach console",
     kStopsNothing},
    {"intent", "show", "list"},
    {"intent", "new set", "declare"},
    {"intent", "remove del cancel abort", "withdraw"},
    {"fleet", "list ls get status nodes", "fleet alone"},
    {"fleet", "init make new", "create"},
    {"info", "", "why NAME"},
    {"doctor", "", "why NAME; doctor looks at the whole node"},
    {"top", "", "why NAME; top shows the whole node"},
};

constexpr Words kOptionWords[] = {
    {"vmevents", "-f -n -r -u -x -e -p -b -k -g -S -U", "events"},
    {"push", "-H --header", "--header-file"},
    {"push", "--token", "--header-file; a line of it is \"Authorization: Bearer TOKEN\""},
    {"push", "--cacert --ca --certificate-authority", "--push-ca"},
    {"push", "-k --insecure",
     "; the receiver's certificate is checked: name its CA with --push-ca"},
    {"web", "--token", "--token-file"},
    {"", "--token --header",
     "; vmeventd knows its clients by certificates: give --tls-cert and --tls-key"},
    {"", "-k --insecure --insecure-skip-tls-verify",
     "; the server's certificate is checked: name its CA with --tls-ca"},
    {"declare", "-m -r --message --comment --description", "--reason"},
    {"watch", "-t", "--timeout"},
    {"watch", "--no-resume", "; it reconnects until Ctrl-C, --count or --timeout"},
    {"watch", "--exec-gaps", "--type gap, beside the types that you want"},
    {"", "--lines --tail --pager-end -e", "-n"},
    {"", "--max --max-count --head", "--limit"},
    {"", "--reverse", "--newest-first"},
    {"", "-S --since-time --start --start-time --begin --after -b --boot", "--since"},
    {"", "-U --until-time --end --end-time --before", "--until"},
    {"", "--grep -g --event --events --kind -t", "--type"},
    {"", "-p --priority --severity --level", "--class"},
    {"", "--reason", "--cause"},
    {"", "--filter", "--vm, --type, --class, --cause or --source"},
    {"", "-u --unit --for --domain --field-selector --name-filter", "--vm"},
    {"", "--selector --labels", "--label"},
    {"", "--namespace -N", "--vm; VMs have no namespaces"},
    {"vms", "-n", "--vm; VMs have no namespaces"},
    {"", "-A --all-namespaces --inactive --persistent", "--all"},
    {"", "--state-running --running --active", "--state running"},
    {"", "--state-paused --paused", "--state paused"},
    {"", "--state-shutoff --stopped --exited", "--state stopped"},
    {"", "--failed --crashed --crash", "--class crash"},
    {"top", "-n --iterations", "--once"},
    {"", "-c --connect -H --host -M --machine -s --uri --address --addr --socket --endpoint",
     "--server"},
    {"", "-m --merge", "--server HOST,HOST"},
    {"", "--kubeconfig --cluster", "--context"},
    {"", "--certificate-authority --tlscacert --cacert --tls --tlsverify", "--tls-ca"},
    {"", "--client-certificate --tlscert --cert", "--tls-cert"},
    {"", "--client-key --tlskey --key", "--tls-key"},
    {"", "--json -j --yaml", "-o json"},
    {"", "--wide --full --show-labels --details --long -x --catalog", "-o wide"},
    {"", "--name --quiet -q --names", "-o name"},
    {"", "--format --template --output-fields", "-o"},
    {"vms", "--sort --order-by", "--sort-by"},
    {"", "--sort-by --sort", "-o json, and sort with jq"},
    {"", "--no-truncate --no-truncation", "--no-trunc"},
    {"", "--no-legend --noheadings --noheader --no-header", "--no-headers"},
    {"", "--tz --timezone", "--utc, or set TZ"},
    {"", "-w --watch --watch-only", "watch"},
    {"", "--loop", "; it runs until Ctrl-C, or until --count"},
    {"", "--timestamp --timestamps", "; each event is shown with its time"},
    {"", "--after-cursor --cursor --show-cursor", "--cursor-file"},
    {"", "--previous", "why NAME, which shows how the run before ended"},
    {"", "-d --delay", "--interval"},
    {"", "-v -V", "--version"},
    {"", "-?", "--help"},
};

std::string DidYouMean(absl::string_view answer) {
  const size_t end = std::min(answer.find(';'), answer.size());
  if (end == 0) return std::string(answer);
  const absl::string_view rest = answer.substr(end);  // includes its semicolon
  return absl::StrCat("; did you mean ", answer.substr(0, end), "?",
                      rest.empty() ? rest : rest.substr(1));
}

std::vector<std::string> OptionsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->nonpositional()) continue;
    const std::vector<std::string> own = absl::StrSplit(option->get_name(false, true), ',');
    names.insert(names.end(), own.begin(), own.end());
  }
  return names;
}

// The first row of that scope that has the word; null: none. A row without words has each.
const Words* FindRow(absl::Span<const Words> rows, absl::string_view scope, absl::string_view typed,
                     const std::function<bool(absl::string_view answer)>& fits = nullptr) {
  const auto found = absl::c_find_if(rows, [&](const Words& row) {
    const std::vector<absl::string_view> words = absl::StrSplit(row.typed, ' ');
    return row.scope == scope && (!fits || fits(row.answer)) &&
           (row.typed.empty() || absl::c_linear_search(words, typed));
  });
  return found == rows.end() ? nullptr : &*found;
}

// "--since is an option of watch and events".
std::string Elsewhere(const CLI::App& program, absl::string_view option) {
  std::vector<std::string> commands;
  for (const CLI::App* command : program.get_subcommands({})) {
    if (absl::c_linear_search(OptionsOf(*command), option)) commands.push_back(command->get_name());
  }
  if (commands.empty()) return "";
  return absl::StrCat("; ", option, " is an option of ", JoinWords(commands, " and "));
}

std::string HintForOption(const CLI::App& command, absl::string_view typed) {
  std::vector<std::string> names = OptionsOf(command);
  const CLI::App* program = &command;
  while (program->get_parent() != nullptr) program = program->get_parent();
  if (program != &command) {
    const std::vector<std::string> general = OptionsOf(*program);
    names.insert(names.end(), general.begin(), general.end());
  }
  // An answer that is an option must be one here.
  const auto fits = [&](absl::string_view answer) {
    if (!absl::StartsWith(answer, "-")) return true;
    const size_t end = answer.find_first_of(" ,;");
    return absl::c_linear_search(names, answer.substr(0, end));
  };
  // A letter may have its value behind it.
  const absl::string_view option = typed.substr(0, absl::StartsWith(typed, "--") ? typed.npos : 2);
  for (const absl::string_view scope :
       {absl::string_view(command.get_name()), absl::string_view()}) {
    if (const Words* row = FindRow(kOptionWords, scope, option, fits)) {
      return DidYouMean(row->answer);
    }
  }
  if (std::string elsewhere = Elsewhere(*program, typed); !elsewhere.empty()) return elsewhere;
  // Every letter is near to every other.
  return typed.size() == 2 ? "" : DidYouMean(NearestName(typed, names));
}

// The option of `word` whose value is the word after it; null: none is.
const CLI::Option* TakesNext(const CLI::App& app, const CLI::App& command,
                             const std::string& word) {
  const auto taker = [&](const std::string& name) {
    const CLI::Option* option = FindOption(app, command, name);
    return option != nullptr && option->get_expected_min() > 0 ? option : nullptr;
  };
  if (absl::StartsWith(word, "--") || word.size() < 2 || word[0] != '-') return taker(word);
  // The first letter that takes a value takes the rest of the word, if there is any.
  for (size_t at = 1; at < word.size(); ++at) {
    const CLI::Option* option = taker(absl::StrCat("-", word.substr(at, 1)));
    if (option != nullptr) return at + 1 == word.size() ? option : nullptr;
  }
  return nullptr;
}

void AppendWords(absl::string_view text, std::vector<std::string>* words) {
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    words->emplace_back(word);
  }
}

// Appends the option without its alias; returns the one whose value is the next argument, or null.
const CLI::Option* AppendOption(const CLI::App& app, const CLI::App& command,
                                const std::string& word, std::vector<std::string>* words) {
  // "-20" as of tail, and "-o=json" as of kubectl.
  if (command.get_name() == "events" && IsNumber(word.substr(1))) {
    words->push_back(absl::StrCat("--last=", word.substr(1)));
    return nullptr;
  }
  if (word.size() > 3 && word[1] != '-' && word[2] == '=' &&
      TakesNext(app, command, word.substr(0, 2)) != nullptr) {
    words->push_back(absl::StrCat(word.substr(0, 2), word.substr(3)));
    return nullptr;
  }
  const std::string name = word.substr(0, word.find('='));
  const Words* row = &command == &app ? nullptr : FindRow(kOptionAliases, command.get_name(), name);
  if (row == nullptr) row = FindRow(kOptionAliases, "", name);
  // "--tail=20" is "--last=20", and "--json=x" stays wrong.
  if (row == nullptr || (name != word && absl::StrContains(row->answer, ' '))) {
    words->push_back(word);
  } else {
    AppendWords(absl::StrCat(row->answer, word.substr(name.size())), words);
    if (row->answer.empty()) return nullptr;
  }
  return TakesNext(app, command, words->back());
}

}  // namespace

const CLI::App* FindCommand(const CLI::App& app, const std::string& word) {
  const auto found =
      app.get_subcommands([&](const CLI::App* one) { return one->check_name(word); });
  return found.empty() ? nullptr : found.front();
}

const CLI::Option* FindOption(const CLI::App& app, const CLI::App& command,
                              const std::string& name) {
  const CLI::Option* option = command.get_option_no_throw(name);
  return option != nullptr ? option : app.get_option_no_throw(name);
}

OwnWords WithoutAliases(const CLI::App& app, const std::vector<std::string>& arguments) {
  OwnWords own = {{}, &app};
  std::vector<std::string>& words = own.words;
  bool has_command = false;
  for (auto at = arguments.begin(); at != arguments.end(); ++at) {
    if (*at == "--") {
      words.insert(words.end(), at, arguments.end());
      break;
    }
    if (absl::StartsWith(*at, "-")) {
      own.awaits = AppendOption(app, *own.command, *at, &words);
      if (own.awaits == nullptr || at + 1 == arguments.end()) continue;
      own.awaits = nullptr;
      words.push_back(*++at);
    } else if (std::exchange(has_command, true)) {
      words.push_back(*at);
      if (const CLI::App* action = FindCommand(*own.command, *at)) own.command = action;
    } else {
      const size_t begin = words.size();
      const Words* row = FindRow(kCommandAliases, "", *at);
      std::string name;  // of "get vm/NAME"
      if (row == nullptr && at + 1 != arguments.end()) {
        const size_t slash = (at + 1)->find('/');
        row = FindRow(kCommandAliases, "", absl::StrCat(*at, "+", (at + 1)->substr(0, slash)));
        if (row != nullptr && slash != std::string::npos) name = *(at + 1);
        if (row != nullptr) ++at;
      }
      if (row == nullptr) {
        words.push_back(*at);
      } else {
        AppendWords(row->answer, &words);
        if (!name.empty()) words.push_back(name);
      }
      for (size_t word = begin; word < words.size(); ++word) {
        if (const CLI::App* found = FindCommand(*own.command, words[word])) own.command = found;
      }
    }
  }
  return own;
}

std::string HintFor(const CLI::App& command, absl::string_view typed) {
  typed = typed.substr(0, typed.find('='));
  if (absl::StartsWith(typed, "-")) return HintForOption(command, typed);
  const bool in_program = command.get_parent() == nullptr;
  const absl::string_view scope = in_program ? "" : absl::string_view(command.get_name());
  const Words* row = FindRow(kCommandWords, scope, typed);
  // Names the command itself after "get" and its like.
  const auto given = command.get_subcommands();
  if (in_program && row != nullptr && row->answer == "vms" && !given.empty() &&
      given[0]->get_name() != "help") {
    return DidYouMean(given[0]->get_name());
  }
  if (row != nullptr) return DidYouMean(row->answer);
  // No command has a digit, and most VMs have one.
  if (in_program && given.empty() && absl::c_any_of(typed, absl::ascii_isdigit)) {
    return DidYouMean(absl::StrCat("why ", typed));
  }
  std::vector<std::string> names;
  for (const CLI::App* one : command.get_subcommands({})) names.push_back(one->get_name());
  return DidYouMean(NearestName(typed, names));
}

std::string HintForValue(const std::string& option, absl::string_view typed) {
  std::string word = absl::AsciiStrToLower(typed.substr(0, typed.find('=')));
  absl::c_replace_if(
      word, [](char c) { return c == '_' || c == ' '; }, '-');
  const std::vector<std::string> values = ValuesOf(option);
  const std::string nearest =
      absl::c_linear_search(values, word) ? word : NearestName(word, values);
  if (!nearest.empty()) return DidYouMean(nearest);
  std::vector<absl::string_view> others;
  for (const char* other : {"--type", "--class", "--cause", "--state"}) {
    if (absl::c_linear_search(ValuesOf(other), word)) others.emplace_back(other);
  }
  if (others.empty()) return "";
  return absl::StrCat("; it is a value of ", absl::StrJoin(others, " and "));
}

}  // namespace vmeventd::client
