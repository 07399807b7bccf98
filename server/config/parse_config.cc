#include "server/config/parse_config.h"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <istream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/strings/substitute.h"
#include "base/do_within.h"
#include "base/errno_status.h"
#include "base/quote.h"
#include "base/spelling.h"
#include "base/unique_fd.h"
#include "server/config/flags.h"
#include "server/config/tls_material.h"
#include "server/config/version.h"
#include "watcher/core/source_specs.h"

namespace vmeventd {
namespace {

constexpr int kFailed = 1;
constexpr int kUsageError = 2;

// $0 and the numbers after it are filled in by Examples().
constexpr char kExamples[] = R"(Examples:
  vmeventd
      follow $0, where these exist, and
      serve its own users on a Unix socket
  vmeventd --$1 '$2' --listen unix:/run/vms.sock \
      --listen 127.0.0.1:9555
      follow $3, and serve loopback TCP too
  vmeventd --listen unix:/run/vmeventd/vmeventd.sock,group=ops \
      --listen 0.0.0.0:9555 --tls-cert node.pem --tls-key node.key \
      --tls-client-ca ca.pem --tls-operator mover.example
      serve other hosts by mutual TLS, one of which may declare intents
  vmeventd --$1 $4 --listen unix:/tmp/vmeventd.sock \
      --state-dir /tmp/vmeventd
      a trial without root
A configuration file holds the same names, and the command line wins:
  $5
  powerdown-window = "5m"
Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage.)";

std::string Examples() {
  const SourceSetting& source = ExampleSetting();
  const SourceSetting::Examples& values = *source.examples;
  return absl::Substitute(kExamples, DefaultVms(), source.name, values.value, values.what,
                          values.other, ExampleLine());
}

absl::Status Invalid(absl::string_view flag, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", message));
}

// The width of the help, and where CLI11 begins a flag's description.
constexpr size_t kHelpWidth = 80;
constexpr size_t kHelpColumn = 30;

// CLI11 breaks no lines. A word that is wider has a line of its own.
std::string Wrapped(absl::string_view help) {
  std::string text;
  size_t column = 0;
  for (const absl::string_view word : absl::StrSplit(help, ' ')) {
    if (column > 0 && column + 1 + word.size() > kHelpWidth - kHelpColumn) {
      text += '\n';
      column = 0;
    } else if (column > 0) {
      text += ' ';
      ++column;
    }
    absl::StrAppend(&text, word);
    column += word.size();
  }
  return text;
}

std::string HelpOf(const Flag& flag, const Config& defaults) {
  if (flag.kind == Flag::Kind::kSwitch) return Wrapped(flag.help);
  const std::vector<std::string> values = flag.print(defaults);
  return Wrapped(absl::StrCat(flag.help, " (default ",
                              values.empty() ? "none" : absl::StrJoin(values, " "), ")"));
}

constexpr ForeignWords kWords[] = {
    {"-v --verbose -d --debug --loglevel", {"--log-level", " debug"}},
    {"-q --quiet", {"--log-level", " warn"}},
    {"-l --bind --address --addr --host --port -p --socket --sock", {"--listen"}},
    {"-c -f --config-file --conf", {"--config"}},
    {"-t --test --dry-run --validate --check --configtest check test configtest validate",
     {"--check-config"}},
    {"--data-dir --datadir --data --state --db --database --journal", {"--state-dir"}},
    {"--metrics --prometheus --metrics-port", {"--metrics-listen"}},
    {"--cert --tls", {"--tls-cert"}},
    {"--key", {"--tls-key"}},
    {"--ca --tls-ca --cacert --client-ca", {"--tls-client-ca"}},
    {"-V version", {"--version"}},
    {"-? help", {"--help"}},
    {"--daemon --daemonize --background --foreground --nodaemon -D",
     {"", "", "vmeventd runs in the foreground, and systemctl start vmeventd in the background"}},
    {"start stop restart reload enable disable",
     {"", "", "systemd does that, as in: systemctl restart vmeventd"}},
    {"run serve server daemon", {"", "", "vmeventd runs without a command"}},
    {"vms ls ps list events logs watch tail why describe show top fleet intent info health doctor "
     "push status crashes get",
     {"", "", "that is for the client: vmevents"}},
};

// kWords, and the words for the settings of the sources.
const std::vector<ForeignWords>& AllWords() {
  struct Words {
    std::deque<std::string> names;  // which `rows` refer to
    std::vector<ForeignWords> rows;
  };
  static const auto* const kAll = [] {
    auto* const all = new Words{.names = {}, .rows = {std::begin(kWords), std::end(kWords)}};
    for (const SourceSetting* setting : kSourceSettings) {
      if (*setting->foreign_words == '\0') continue;
      all->names.push_back(absl::StrCat("--", setting->name));
      all->rows.push_back({setting->foreign_words, {all->names.back()}});
    }
    return all;
  }();
  return kAll->rows;
}

// The proposal for a typed word. A misspelling refers to `names`. Empty: no name is similar.
Proposal ProposalFor(absl::string_view typed, const std::vector<std::string>& names) {
  const Proposal known = FindProposal(AllWords(), typed, [](const Proposal&) { return true; });
  if (!known.empty()) return known;
  const std::string nearest = NearestName(typed, names);
  const auto named = std::find(names.begin(), names.end(), nearest);
  return named == names.end() ? Proposal() : Proposal{*named};
}

bool IsSetting(absl::string_view name) {
  return std::any_of(Flags().begin(), Flags().end(),
                     [name](const Flag& flag) { return flag.name == name; });
}

// The hint for a wrong setting in the configuration file: like the hint for a flag of this name.
std::string HintForSetting(absl::string_view typed) {
  std::vector<std::string> names;
  for (const Flag& flag : Flags()) names.push_back(absl::StrCat("--", flag.name));
  const Proposal proposal = ProposalFor(absl::StrCat("--", absl::StripPrefix(typed, "--")), names);
  const absl::string_view name = absl::StripPrefix(proposal.name, "--");
  return IsSetting(name) ? DidYouMean({name}) : "";
}

// Reads the configuration file for CLI11. CLI11 itself does not report an unterminated text or
// list, drops values of a setting that is given twice, and needs each list on one line.
class ConfigFile : public CLI::ConfigTOML {
 public:
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    std::string text;
    List list;
    std::map<std::string, size_t> lines;  // line of each setting
    size_t number = 0;
    for (std::string line; std::getline(input, line);) {
      if (!list.open) list = {.line = number + 1};
      ++number;
      const bool first = !list.open;
      std::string fault = FaultIn(&line, &list);
      if (first && fault.empty() && !list.name.empty()) {
        const auto [known, is_new] = lines.emplace(list.name, number);
        if (!is_new) fault = Repeated(list.name, known->second);
      }
      if (!fault.empty()) throw CLI::ConfigError(absl::StrCat("line ", number, ": ", fault));
      absl::StrAppend(&text, line, list.open ? " " : "\n");
    }
    if (list.open) throw CLI::ConfigError(Unclosed(list));
    std::istringstream checked(text);
    return CLI::ConfigTOML::from_config(checked);
  }

 private:
  static std::string Example() { return absl::StrCat("; write a list as in ", ExampleLine()); }
  struct List {
    size_t line = 0;  // its first
    std::string name = {};
    bool open = false;
    bool empty = true;
  };

  static std::string Unknown(const std::string& name) {
    const std::string hint = HintForSetting(name);
    return absl::StrCat(Quote(name), " is not a setting",
                        hint.empty() ? "; settings are named like the flags, without --" : hint);
  }

  static std::string Unclosed(const List& list) {
    return absl::StrCat("line ", list.line, ": the list of ", Quote(list.name), " has no closing ]",
                        Example());
  }

  static std::string Repeated(const std::string& name, size_t line) {
    const bool list = std::any_of(Flags().begin(), Flags().end(), [&](const Flag& flag) {
      return flag.name == name && flag.repeatable;
    });
    return absl::StrCat(Quote(name), " is set in line ", line, " already",
                        list ? "; write all its values in one list" : "; delete one of the lines");
  }

  // Returns what is wrong in the line, or an empty text. Removes its comment.
  static std::string FaultIn(std::string* line, List* list) {
    size_t at = 0;
    const bool first = !list->open;
    if (first) {
      const absl::string_view stripped = absl::StripAsciiWhitespace(*line);
      if (stripped.empty() || stripped[0] == '#' || stripped[0] == ';') return "";
      if (stripped[0] == '[') {
        return stripped == "[default]" ? ""
                                       : "it has a [section]; settings must not be in a section";
      }
      list->name =
          std::string(absl::StripAsciiWhitespace(stripped.substr(0, stripped.find_first_of("=#"))));
      CLI::detail::remove_quotes(list->name);
      if (!IsSetting(absl::StripPrefix(list->name, "--"))) return Unknown(list->name);
      const size_t equals = line->find('=');
      at = equals == line->npos ? equals : line->find_first_not_of(" \t", equals + 1);
      if (at == line->npos) return "";
      list->open = (*line)[at] == '[';
      at += list->open ? 1 : 0;
    }
    bool at_start = true;  // of a value; elsewhere a quotation mark is an ordinary character
    for (; at < line->size(); ++at) {
      const char c = (*line)[at];
      if (absl::ascii_isspace(c)) continue;
      if (c == '#') {
        line->resize(at);
        return "";
      }
      if (list->open && c == ']') {
        list->open = false;
        const absl::string_view rest = absl::string_view(*line).substr(at + 1);
        if (const absl::string_view text = absl::StripAsciiWhitespace(rest);
            !text.empty() && text[0] != '#') {
          return absl::StrCat("there is text after the ] of ", Quote(list->name), ": ",
                              Quote(text));
        }
        return list->empty ? absl::StrCat("the list of ", Quote(list->name), " is empty", Example(),
                                          ", or delete the line")
                           : "";
      }
      if (!first && c == '=') throw CLI::ConfigError(Unclosed(*list));
      list->empty = false;
      if (at_start && (c == '"' || c == '\'')) {
        const size_t end = line->find(c, at + 1);
        if (end == line->npos) {
          return absl::StrCat("the value of ", Quote(list->name), " has no closing ",
                              std::string(1, c), list->open ? Example() : "");
        }
        // CLI11 2.1 takes it for the beginning of a comment.
        if (absl::StrContains(absl::string_view(*line).substr(at, end - at), '#')) {
          return absl::StrCat("the value of ", Quote(list->name),
                              " has a #, which a file cannot have: give it as a flag");
        }
        at = end;
      }
      at_start = c == ',';
    }
    return "";
  }
};

void DefineFlags(CLI::App* app, const Config& defaults) {
  app->set_version_flag("--version", absl::StrCat("vmeventd ", kVersion));
  app->set_config("--config", "",
                  Wrapped("Read settings from FILE (TOML or INI, named like the flags)"));
  app->get_config_ptr()->option_text("FILE");
  app->config_formatter(std::make_shared<ConfigFile>());
  app->allow_config_extras(CLI::config_extras_mode::error);
  for (const Flag& flag : Flags()) {
    const std::string name = absl::StrCat("--", flag.name);
    const std::string help = HelpOf(flag, defaults);
    if (flag.kind == Flag::Kind::kSwitch) {
      app->add_flag(name, help);
      continue;
    }
    CLI::Option* const option =
        app->add_option(name, CLI::callback_t(), help)->option_text(flag.argument);
    if (flag.repeatable) option->take_all();
  }
  constexpr std::pair<const char*, const char*> kNeeds[] = {{"--tls-cert", "--tls-key"},
                                                            {"--tls-key", "--tls-cert"},
                                                            {"--tls-client-ca", "--tls-cert"},
                                                            {"--tls-operator", "--tls-client-ca"}};
  for (const auto& [flag, other] : kNeeds) app->get_option(flag)->needs(app->get_option(other));
  const std::string check =
      Wrapped("Check the flags and the configuration file, print what they mean, and exit");
  app->add_flag("--check-config", check)->configurable(false);
  app->get_formatter()->column_width(kHelpColumn);
  app->footer(Examples());
}

// Checks which TCP addresses are permitted: by who can reach them and whether they use TLS.
absl::Status CheckAccess(const Config& config) {
  constexpr absl::string_view kBeyond =
      " is not a loopback address (127.0.0.0/8, [::1] or localhost): other hosts could "
      "connect without authentication and read the traffic; ";
  const bool has_tls = config.tls().has_value();
  if (has_tls && std::all_of(config.listens.begin(), config.listens.end(),
                             std::mem_fn(&ListenAddress::is_unix))) {
    return Invalid("--tls-cert", "needs a --listen HOST:PORT");
  }
  for (const ListenAddress& address : config.listens) {
    if (address.is_unix()) continue;
    if (!has_tls && !address.is_loopback() && !config.insecure_listen) {
      return Invalid("--listen", absl::StrCat(Quote(address.ToString()), kBeyond,
                                              "give --tls-cert and --tls-key, or permit it with "
                                              "--insecure-listen"));
    }
  }
  if (config.metrics_listen.has_value() && !config.metrics_listen->is_loopback() &&
      !config.insecure_listen) {
    return Invalid("--metrics-listen", absl::StrCat(Quote(config.metrics_listen->ToString()),
                                                    kBeyond, "permit it with --insecure-listen"));
  }
  return absl::OkStatus();
}

// `SourceSetting::check` has what it returns.
std::string RealPath(const std::string& path) {
  const auto target = std::make_shared<std::string>();
  const bool answers = DoWithin(kFileSystemPatience, [path, target] {
    std::error_code error;
    *target = std::filesystem::weakly_canonical(path, error).string();
  });
  return answers ? *target : "";
}

absl::Status CheckSources(const SourceSpecs& sources) {
  for (const SourceSetting* setting : kSourceSettings) {
    if (setting->check == nullptr) continue;
    const absl::Status status = setting->check(sources, RealPath);
    if (!status.ok()) return Invalid(absl::StrCat("--", setting->name), status.message());
  }
  return absl::OkStatus();
}

// Restricts an IPv6 address to IPv6 if another listener has the same port with IPv4: a socket for
// "::" would take both.
void LeaveIpv4ToOthers(Config* config) {
  std::vector<ListenAddress*> all;
  for (ListenAddress& address : config->listens) all.push_back(&address);
  if (config->metrics_listen.has_value()) all.push_back(&*config->metrics_listen);
  for (ListenAddress* const address : all) {
    address->ipv6_only = std::any_of(all.begin(), all.end(), [&](const ListenAddress* other) {
      return !other->is_unix() && !other->is_ipv6() && other->port == address->port;
    });
  }
}

// Checks the groups and files on this host that the flags name. Such a fault may go away without a
// change of the configuration: a directory service starts, or certificates are being replaced.
absl::Status CheckHost(Config* config) {
  for (ListenAddress& address : config->listens) {
    if (absl::Status status = ResolveGroup(&address); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat("--listen: ", status.message()));
    }
  }
  if (const std::optional<TlsPaths> tls = config->tls(); tls.has_value()) {
    if (absl::Status status = LoadTlsMaterial(*tls).status(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<Config> ReadFlags(const CLI::App& app, Config config) {
  for (const Flag& flag : Flags()) {
    const std::string name = absl::StrCat("--", flag.name);
    const CLI::Option& option = *app.get_option(name);
    std::vector<std::string> values = option.results();
    // A variable that is not set gives an empty text: TLS would then ask for no certificates.
    if (absl::StartsWith(flag.name, "tls-") &&
        std::find(values.begin(), values.end(), "") != values.end()) {
      return Invalid(name, "is empty: name a file, or leave the flag out");
    }
    if (values.empty()) values = flag.print(config);  // check the default as well
    if (values.empty()) continue;
    if (flag.kind == Flag::Kind::kSwitch) values = {option.as<bool>() ? "true" : "false"};
    for (const std::string& value : values) {
      // System calls would stop at the NUL and use another path.
      if (absl::StrContains(value, '\0')) {
        return Invalid(
            name, absl::StrCat(Quote(value), " contains a NUL byte, which no setting may contain"));
      }
    }
    absl::Status status = flag.read(values, &config);
    if (!status.ok()) return Invalid(name, status.message());
  }
  absl::Status status = CheckSources(config.sources);
  if (status.ok()) status = CheckAccess(config);
  if (!status.ok()) return status;
  LeaveIpv4ToOthers(&config);
  return config;
}

// The configuration, as a configuration file with the same meaning.
std::string Describe(const Config& config) {
  std::string out = "# The configuration is valid:\n";
  if (config.sources.is_default()) absl::StrAppend(&out, "# ", DefaultSourcesText(), "\n");
  for (const Flag& flag : Flags()) {
    const std::string value = ConfigFileValue(flag, config);
    if (!value.empty()) absl::StrAppend(&out, flag.name, " = ", value, "\n");
  }
  return out;
}

ParsedConfig UsageError(absl::string_view message) {
  return {std::nullopt, kUsageError,
          absl::StrCat("vmeventd: ", message, "\nTry vmeventd --help.\n")};
}

std::string Explain(const CLI::App& app, const std::vector<std::string>& arguments,
                    const CLI::ParseError& error) {
  std::string message = error.what();
  if (dynamic_cast<const CLI::ConfigError*>(&error) != nullptr) {
    return absl::StrCat("--config: ", app.get_config_ptr()->as<std::string>(), ": ", message);
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    for (const CLI::Option* flag : app.get_options()) {
      if (flag->count() <= static_cast<size_t>(flag->get_expected_max())) continue;
      return absl::StrCat(flag->get_name(), ": takes one value, and several are given");
    }
    // Any other flag takes the next word as its value.
    return absl::StrCat(arguments.back(), ": needs a value");
  }
  return message;
}

std::string ExplainUnreadable(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const int error = fd.valid() ? EISDIR : errno;
  return absl::StrCat("--config: ", ErrnoStatus(path, "cannot be read", error).message());
}

// The result if CheckHost() found a fault.
ParsedConfig HostError(absl::string_view message, bool check_config) {
  if (check_config) return UsageError(message);
  return {std::nullopt, kFailed, absl::StrCat("vmeventd: cannot start: ", message, "\n")};
}

// Explains the arguments of `app` that belong to no flag.
std::string ExplainExtras(const CLI::App& app) {
  const std::vector<std::string> extras = app.remaining();  // in the order in which they were typed
  const auto flag = std::find_if(extras.begin(), extras.end(), [](const std::string& word) {
    return absl::StartsWith(word, "-");
  });
  if (flag == extras.end()) {
    if (absl::StrContains(extras.front(), '/')) {
      for (const SourceSetting* setting : kSourceSettings) {
        const bool is_given = app.count(absl::StrCat("--", setting->name)) > 0;
        if (!is_given || *setting->replaced_pattern == '\0') continue;
        return absl::StrCat(Quote(extras.front()), " is not a flag: ", setting->replaced_pattern);
      }
    }
    const std::string hint = DidYouMean(ProposalFor(extras.front(), {}));
    return absl::StrCat(Quote(extras.front()), " is not a flag",
                        hint.empty() ? "; vmeventd takes no other arguments" : hint);
  }
  std::vector<std::string> names = {"--config", "--check-config", "--help", "--version"};
  for (const Flag& known : Flags()) names.push_back(absl::StrCat("--", known.name));
  const std::string typed = flag->substr(0, flag->find('='));
  return absl::StrCat(Quote(typed), " is not a flag", DidYouMean(ProposalFor(typed, names)));
}

}  // namespace

const char kVersion[] = VMEVENTD_VERSION;

Environment SystemEnvironment() {
  Environment environment;
  environment.uid = geteuid();
  environment.variable = [](const char* name) {
    const char* const value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  return environment;
}

// Uses the user's own directories if the daemon does not run as root.
Config DefaultConfig(const Environment& environment) {
  std::string runtime = "/run";
  Config config;
  config.state_dir = "/var/lib/vmeventd";
  if (environment.uid != 0) {
    runtime = environment.variable("XDG_RUNTIME_DIR");
    if (runtime.empty()) runtime = absl::StrCat("/run/user/", environment.uid);
    std::string state = environment.variable("XDG_STATE_HOME");
    if (state.empty()) state = absl::StrCat(environment.variable("HOME"), "/.local/state");
    config.state_dir = absl::StrCat(state, "/vmeventd");
  }
  config.listens.push_back({.path = absl::StrCat(runtime, "/vmeventd/vmeventd.sock")});
  return config;
}

ParsedConfig ParseConfig(const std::vector<std::string>& arguments,
                         const Environment& environment) {
  const Config defaults = DefaultConfig(environment);
  CLI::App app("Follows the QEMUs of this node, and reports who ended each VM", "vmeventd");
  DefineFlags(&app, defaults);
  absl::StatusOr<Config> config = defaults;
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(),
                                       arguments.rend()));  // CLI11 takes the last first
    config = ReadFlags(app, defaults);
  } catch (const CLI::CallForHelp&) {
    return {std::nullopt, 0, app.help()};
  } catch (const CLI::CallForVersion& version) {
    return {std::nullopt, 0, absl::StrCat(version.what(), "\n")};
  } catch (const CLI::ExtrasError&) {
    return UsageError(ExplainExtras(app));
  } catch (const CLI::FileError&) {
    return HostError(ExplainUnreadable(app.get_config_ptr()->as<std::string>()),
                     app.count("--check-config") > 0);
  } catch (const CLI::ParseError& error) {
    return UsageError(Explain(app, arguments, error));
  }
  if (!config.ok()) return UsageError(config.status().message());
  const bool check_config = app.count("--check-config") > 0;
  if (const absl::Status host = CheckHost(&*config); !host.ok()) {
    return HostError(host.message(), check_config);
  }
  if (check_config) return {std::nullopt, 0, Describe(*config)};
  return {*std::move(config), 0, ""};
}

}  // namespace vmeventd
