#include "server/config/config.h"

#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/quote.h"
#include "server/version.h"

namespace vmeventd {
namespace {

constexpr int kUsageError = 2;
constexpr char kGanetiControlDirectory[] = "/var/run/ganeti/kvm-hypervisor/ctrl";

constexpr char kExamples[] = R"(Examples:
  vmeventd
      follow the VMs of a Ganeti node, and serve the node's own users on a Unix socket
  vmeventd --watch '/run/vms:*.qmp' --listen unix:/run/vms.sock --listen 127.0.0.1:9555
      follow every socket NAME.qmp in /run/vms, and serve loopback TCP too
  vmeventd --listen unix:/run/vmeventd/vmeventd.sock,group=ops --listen 0.0.0.0:9555
      --tls-cert node.pem --tls-key node.key --tls-client-ca ca.pem --tls-operator mover.example
      serve other hosts by mutual TLS, one of which may declare intents
  vmeventd --watch /tmp/vms --listen unix:/tmp/vmeventd.sock --state-dir /tmp/vmeventd
      a trial without root
A configuration file holds the same names, and the command line wins:
  watch = ["/run/vms:*.qmp", "/srv/vms"]
  powerdown-window = "5m"
Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage.)";

// The flags as text, each with its default.
struct Texts {
  std::vector<std::string> watch;
  std::vector<std::string> listen;
  std::string metrics_listen;
  std::string tls_cert;
  std::string tls_key;
  std::string tls_client_ca;
  std::vector<std::string> tls_operator;
  bool insecure_listen = false;
  std::string max_connections = "4000";
  std::string max_streams = "4000";
  std::string max_streams_per_peer = "2000";
  std::string list_rate = "200";
  std::string state_dir;
  std::string powerdown_window = "10m";
  std::string retention_age = "30d";
  std::string retention_events = "1000000";
  std::string process_tracking = "auto";
  std::string shutdown_files = "on";
  std::string event_limits = "on";
  std::string log_level = "info";
  std::string log_format = "text";
  bool check_config = false;
};

// Relative to the user's own directories where the daemon is not root's.
Texts DefaultTexts(const Environment& environment) {
  Texts texts;
  texts.watch = {absl::StrCat(kGanetiControlDirectory, ":", std::string(kDefaultWatchPattern))};
  if (environment.root) {
    texts.listen = {"unix:/run/vmeventd/vmeventd.sock"};
    texts.state_dir = "/var/lib/vmeventd";
    return texts;
  }
  std::string runtime = environment.variable("XDG_RUNTIME_DIR");
  if (runtime.empty()) runtime = absl::StrCat("/run/user/", environment.uid);
  std::string state = environment.variable("XDG_STATE_HOME");
  if (state.empty()) state = absl::StrCat(environment.variable("HOME"), "/.local/state");
  texts.listen = {absl::StrCat("unix:", runtime, "/vmeventd/vmeventd.sock")};
  texts.state_dir = absl::StrCat(state, "/vmeventd");
  return texts;
}

absl::Status Invalid(absl::string_view flag, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", message));
}

void DefineFlags(CLI::App* app, const Texts& defaults, Texts* texts) {
  app->set_version_flag("--version", absl::StrCat("vmeventd ", kVersion));
  app->set_config("--config", "", "Read settings from FILE (TOML or INI, named like the flags)");
  app->get_config_ptr()->option_text("FILE");
  app->allow_config_extras(CLI::config_extras_mode::error);
  const auto add = [app](const std::string& name, auto& value, const std::string& text,
                         const std::string& help) {
    CLI::Option* const option = app->add_option(name, value, help)->option_text(text);
    return option;
  };
  add("--watch", texts->watch, "DIR[:PATTERN]",
      absl::StrCat("Follow the QMP sockets in DIR that match PATTERN, which has one * for the VM's "
                   "name (",
                   std::string(kDefaultWatchPattern), " if left out); repeatable. Default ",
                   absl::StrJoin(defaults.watch, " ")))
      ->allow_extra_args(false);
  add("--listen", texts->listen, "ADDRESS[,OPTION=VALUE...]",
      absl::StrCat("Serve gRPC on unix:PATH or on HOST:PORT; repeatable. Options: role=reader (may "
                   "watch and query) or role=operator (may declare intents too); of a Unix socket "
                   "mode=0660 and group=NAME. Default ",
                   absl::StrJoin(defaults.listen, " ")))
      ->allow_extra_args(false);
  add("--tls-cert", texts->tls_cert, "FILE",
      "Speak TLS on every --listen HOST:PORT, with this certificate and its chain (PEM). The TLS "
      "files may be replaced at any time: new connections use what they then hold");
  add("--tls-key", texts->tls_key, "FILE", "The private key of --tls-cert (PEM, no password)");
  add("--tls-client-ca", texts->tls_client_ca, "FILE",
      "Take TLS connections of clients only that have a certificate of these authorities (PEM)");
  add("--tls-operator", texts->tls_operator, "NAME",
      "A client whose certificate has this subject alternative name (DNS, URI, email or IP) is an "
      "operator, every other a reader; repeatable. Default none")
      ->allow_extra_args(false);
  app->add_flag("--insecure-listen", texts->insecure_listen,
                "Permit --listen and --metrics-listen beyond loopback without TLS: whoever reaches "
                "the port reads everything, on the way too");
  add("--max-connections", texts->max_connections, "NUMBER",
      "Hold at most so many connections open on each --listen, and of one peer half as many. "
      "Default 4000");
  add("--max-streams", texts->max_streams, "NUMBER",
      "Serve at most so many WatchEvents streams. Default 4000");
  add("--max-streams-per-peer", texts->max_streams_per_peer, "NUMBER",
      "And of one peer so many: an IP address, or all users of a Unix socket. Default 2000");
  add("--list-rate", texts->list_rate, "NUMBER",
      "Answer at most so many ListEvents a second to one peer; five times as many may come at "
      "once. Default 200");
  add("--metrics-listen", texts->metrics_listen, "HOST:PORT",
      "Serve Prometheus metrics by HTTP, at /metrics. Default none");
  add("--state-dir", texts->state_dir, "DIR",
      absl::StrCat("The daemon's own directory, which holds the journal. Default ",
                   defaults.state_dir));
  add("--powerdown-window", texts->powerdown_window, "DURATION",
      "A guest that powers off within this time of an ACPI powerdown was asked to by the host; as "
      "in 3s, 10m, 1h30m. Default 10m");
  add("--retention-age", texts->retention_age, "DURATION",
      "Keep events in the journal for this time; as in 12h, 30d. Default 30d");
  add("--retention-events", texts->retention_events, "NUMBER",
      "Keep at most so many events in the journal. Default 1000000");
  add("--process-tracking", texts->process_tracking, "auto|off",
      "off: a monitor's end of file is the end of the VM, whatever its process does. Default auto");
  add("--shutdown-files", texts->shutdown_files, "on|off",
      "Write Ganeti's NAME.shutdown files beside the sockets. Default on");
  add("--event-limits", texts->event_limits, "on|off",
      "off: publish every event of a VM, however many it sends. Default on");
  add("--log-level", texts->log_level, "LEVEL", "trace, debug, info, warn or error. Default info");
  add("--log-format", texts->log_format, "text|json", "json: one object a line. Default text");
  app->add_flag("--check-config", texts->check_config,
                "Check the flags and the configuration file, print what they mean, and exit")
      ->configurable(false);
  app->get_formatter()->column_width(36);
  app->footer(kExamples);
}

absl::Status CheckDirectory(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && !S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(Quote(path), " exists and is not a directory"));
  }
  return absl::OkStatus();  // a missing one is waited for
}

absl::Status ReadWatches(const Texts& texts, Config* config) {
  for (const std::string& text : texts.watch) {
    absl::StatusOr<WatchSpec> watch = ParseWatchSpec(text);
    if (!watch.ok()) return Invalid("--watch", watch.status().message());
    if (absl::Status status = CheckDirectory(watch->directory); !status.ok()) {
      return Invalid("--watch", status.message());
    }
    const auto same = [&watch](const WatchSpec& other) {
      return other.directory == watch->directory && other.pattern() == watch->pattern();
    };
    if (std::any_of(config->watches.begin(), config->watches.end(), same)) {
      return Invalid("--watch", absl::StrCat(Quote(text), " is given twice"));
    }
    config->watches.push_back(*std::move(watch));
  }
  return absl::OkStatus();
}

absl::Status ReadListens(const Texts& texts, Config* config) {
  for (const std::string& text : texts.listen) {
    absl::StatusOr<ListenAddress> listen = ParseListenAddress(text);
    if (!listen.ok()) return Invalid("--listen", listen.status().message());
    const bool repeated =
        std::any_of(config->listens.begin(), config->listens.end(),
                    [&listen](const ListenAddress& other) { return other.SamePlace(*listen); });
    if (repeated && (listen->is_unix() || listen->port != 0)) {
      return Invalid("--listen", absl::StrCat(Quote(text), " is given twice"));
    }
    config->listens.push_back(*std::move(listen));
  }
  return absl::OkStatus();
}

absl::Status ReadMetricsListen(const std::string& text, Config* config) {
  if (text.empty()) return absl::OkStatus();
  const absl::StatusOr<ListenAddress> address = ParseListenAddress(text);
  if (!address.ok()) return Invalid("--metrics-listen", address.status().message());
  if (address->is_unix()) {
    return Invalid("--metrics-listen",
                   absl::StrCat(Quote(text), " is a Unix socket; write HOST:PORT"));
  }
  if (address->role.has_value()) {
    return Invalid("--metrics-listen", absl::StrCat(Quote(text), " takes no role="));
  }
  config->metrics_listen = *address;
  return absl::OkStatus();
}

absl::Status ReadTls(const Texts& texts, Config* config) {
  const bool any_tcp = std::any_of(config->listens.begin(), config->listens.end(),
                                   [](const ListenAddress& address) { return !address.is_unix(); });
  if (texts.tls_cert.empty() != texts.tls_key.empty()) {
    return texts.tls_key.empty() ? Invalid("--tls-cert", "needs --tls-key as well")
                                 : Invalid("--tls-key", "needs --tls-cert as well");
  }
  if (texts.tls_cert.empty()) {
    if (!texts.tls_client_ca.empty()) {
      return Invalid("--tls-client-ca", "needs --tls-cert and --tls-key as well");
    }
    return texts.tls_operator.empty()
               ? absl::OkStatus()
               : Invalid("--tls-operator", "needs --tls-cert, --tls-key and --tls-client-ca");
  }
  if (!any_tcp) return Invalid("--tls-cert", "there is no --listen HOST:PORT to use it");
  if (!texts.tls_operator.empty() && texts.tls_client_ca.empty()) {
    return Invalid("--tls-operator",
                   "needs --tls-client-ca: without it clients show no certificate");
  }
  if (std::find(texts.tls_operator.begin(), texts.tls_operator.end(), "") !=
      texts.tls_operator.end()) {
    return Invalid("--tls-operator", "\"\" must not be empty");
  }
  config->tls = TlsPaths{texts.tls_cert, texts.tls_key, texts.tls_client_ca};
  config->tls_operators = texts.tls_operator;
  return LoadTlsMaterial(*config->tls).status();
}

// What a TCP address may be, by who can reach it and whether it speaks TLS.
absl::Status CheckAccess(const Texts& texts, const Config& config) {
  constexpr absl::string_view kBeyond =
      " is not a loopback address (127.0.0.0/8, [::1] or localhost): beyond the host all would "
      "travel unencrypted, and everybody could ask; ";
  for (const ListenAddress& address : config.listens) {
    if (address.is_unix()) continue;
    const std::string name = Quote(address.ToString());
    if (!config.tls.has_value() && !address.is_loopback() && !texts.insecure_listen) {
      return Invalid("--listen", absl::StrCat(name, kBeyond,
                                              "give --tls-cert and --tls-key, or "
                                              "--insecure-listen if you mean it"));
    }
    if (address.role != Role::kOperator) continue;
    if (!config.tls.has_value() && !address.is_loopback()) {
      return Invalid("--listen",
                     absl::StrCat(name,
                                  " with role=operator would let everybody who reaches it "
                                  "declare intents; operators need TLS and --tls-operator"));
    }
    if (config.tls.has_value() && config.tls_operators.empty()) {
      return Invalid("--listen", absl::StrCat(name,
                                              " with role=operator needs --tls-client-ca and "
                                              "--tls-operator, which say who that is"));
    }
  }
  if (config.metrics_listen.has_value() && !config.metrics_listen->is_loopback() &&
      !texts.insecure_listen) {
    return Invalid("--metrics-listen",
                   absl::StrCat(Quote(config.metrics_listen->ToString()), kBeyond,
                                "give --insecure-listen if you mean it"));
  }
  return absl::OkStatus();
}

absl::Status ReadStateDir(const std::string& text, Config* config) {
  if (text.empty()) return Invalid("--state-dir", "\"\" must not be empty");
  std::error_code error;
  const std::filesystem::path path = std::filesystem::absolute(text, error);
  if (error) {
    return Invalid("--state-dir",
                   absl::StrCat(Quote(text), " cannot be made absolute: ", error.message()));
  }
  config->state_dir = path.lexically_normal().string();
  while (config->state_dir.size() > 1 && config->state_dir.back() == '/') {
    config->state_dir.pop_back();
  }
  const absl::Status status = CheckDirectory(config->state_dir);
  return status.ok() ? status : Invalid("--state-dir", status.message());
}

// What absl::ParseDuration takes, and whole days.
bool ParseTime(absl::string_view text, absl::Duration* out) {
  absl::string_view days = text;
  uint32_t count = 0;
  if (absl::ConsumeSuffix(&days, "d") && absl::SimpleAtoi(days, &count)) {
    *out = absl::Hours(24) * count;
    return true;
  }
  return absl::ParseDuration(text, out);
}

absl::Status ReadDuration(absl::string_view flag, const std::string& text, absl::Duration* out) {
  const bool ok =
      ParseTime(text, out) && *out > absl::ZeroDuration() && *out < absl::InfiniteDuration();
  if (ok) return absl::OkStatus();
  return Invalid(flag, absl::StrCat(Quote(text),
                                    " is not a time of more than 0 with its unit, such as 500ms, "
                                    "3s, 10m, 1h30m or 30d"));
}

absl::Status ReadCount(absl::string_view flag, const std::string& text, int64_t max, int64_t* out) {
  if (absl::SimpleAtoi(text, out) && *out > 0 && *out <= max) return absl::OkStatus();
  return Invalid(flag, absl::StrCat(Quote(text), " is not a number in 1 to ", max));
}

// One of a few words; their order is that of the values.
absl::Status ReadWord(absl::string_view flag, const std::string& text,
                      const std::vector<std::string>& words, int* index) {
  const auto found = std::find(words.begin(), words.end(), text);
  if (found == words.end()) {
    return Invalid(flag, absl::StrCat(Quote(text), " is not one of ", absl::StrJoin(words, ", ")));
  }
  *index = static_cast<int>(found - words.begin());
  return absl::OkStatus();
}

absl::StatusOr<Config> ReadTexts(const Texts& texts) {
  Config config;
  int process_tracking = 0;
  int shutdown_files = 0;
  int event_limits = 0;
  int log_level = 0;
  int log_format = 0;
  absl::Status status = ReadWatches(texts, &config);
  status.Update(ReadListens(texts, &config));
  status.Update(ReadMetricsListen(texts.metrics_listen, &config));
  if (status.ok()) status = ReadTls(texts, &config);
  if (status.ok()) status = CheckAccess(texts, config);
  constexpr int64_t kMaxClients = 100'000;
  status.Update(
      ReadCount("--max-connections", texts.max_connections, kMaxClients, &config.max_connections));
  status.Update(ReadCount("--max-streams", texts.max_streams, kMaxClients, &config.max_streams));
  status.Update(ReadCount("--max-streams-per-peer", texts.max_streams_per_peer, kMaxClients,
                          &config.max_streams_per_peer));
  status.Update(ReadCount("--list-rate", texts.list_rate, kMaxClients, &config.list_rate));
  status.Update(ReadStateDir(texts.state_dir, &config));
  status.Update(
      ReadDuration("--powerdown-window", texts.powerdown_window, &config.powerdown_window));
  status.Update(ReadDuration("--retention-age", texts.retention_age, &config.retention_age));
  constexpr int64_t kMaxEvents = 1'000'000'000'000;
  status.Update(ReadCount("--retention-events", texts.retention_events, kMaxEvents,
                          &config.retention_events));
  status.Update(
      ReadWord("--process-tracking", texts.process_tracking, {"auto", "off"}, &process_tracking));
  status.Update(ReadWord("--shutdown-files", texts.shutdown_files, {"on", "off"}, &shutdown_files));
  status.Update(ReadWord("--event-limits", texts.event_limits, {"on", "off"}, &event_limits));
  status.Update(ReadWord("--log-level", texts.log_level,
                         {"trace", "debug", "info", "warn", "error"}, &log_level));
  status.Update(ReadWord("--log-format", texts.log_format, {"text", "json"}, &log_format));
  if (!status.ok()) return status;
  config.process_tracking = process_tracking == 0;
  config.shutdown_files = shutdown_files == 0;
  config.event_limits = event_limits == 0;
  config.log_level = static_cast<LogLevel>(log_level);
  config.log_format = static_cast<LogFormat>(log_format);
  return config;
}

// As a configuration file that means the same.
std::string Describe(const Config& config, const Texts& texts) {
  std::string out = "# The configuration is valid:\n";
  const auto list = [](const auto& items, auto text) {
    return absl::StrJoin(items, ", ", [&text](std::string* to, const auto& item) {
      absl::StrAppend(to, Quote(text(item)));
    });
  };
  absl::StrAppend(&out, "watch = [",
                  list(config.watches,
                       [](const WatchSpec& watch) {
                         return absl::StrCat(watch.directory, ":", watch.pattern());
                       }),
                  "]\n");
  absl::StrAppend(
      &out, "listen = [",
      list(config.listens, [](const ListenAddress& address) { return address.ToFlag(); }), "]\n");
  if (config.tls.has_value()) {
    absl::StrAppend(&out, "tls-cert = ", Quote(config.tls->cert), "\n");
    absl::StrAppend(&out, "tls-key = ", Quote(config.tls->key), "\n");
    if (!config.tls->client_ca.empty()) {
      absl::StrAppend(&out, "tls-client-ca = ", Quote(config.tls->client_ca), "\n");
    }
    if (!config.tls_operators.empty()) {
      absl::StrAppend(&out, "tls-operator = [",
                      list(config.tls_operators, [](const std::string& name) { return name; }),
                      "]\n");
    }
  }
  if (texts.insecure_listen) absl::StrAppend(&out, "insecure-listen = true\n");
  absl::StrAppend(&out, "max-connections = ", config.max_connections, "\n");
  absl::StrAppend(&out, "max-streams = ", config.max_streams, "\n");
  absl::StrAppend(&out, "max-streams-per-peer = ", config.max_streams_per_peer, "\n");
  absl::StrAppend(&out, "list-rate = ", config.list_rate, "\n");
  if (config.metrics_listen.has_value()) {
    absl::StrAppend(&out, "metrics-listen = ", Quote(config.metrics_listen->ToString()), "\n");
  }
  absl::StrAppend(&out, "state-dir = ", Quote(config.state_dir), "\n");
  absl::StrAppend(&out, "powerdown-window = ", Quote(absl::FormatDuration(config.powerdown_window)),
                  "\n");
  absl::StrAppend(&out, "retention-age = ", Quote(absl::FormatDuration(config.retention_age)),
                  "\n");
  absl::StrAppend(&out, "retention-events = ", config.retention_events, "\n");
  absl::StrAppend(&out, "process-tracking = ", Quote(texts.process_tracking), "\n");
  absl::StrAppend(&out, "shutdown-files = ", Quote(texts.shutdown_files), "\n");
  absl::StrAppend(&out, "event-limits = ", Quote(texts.event_limits), "\n");
  absl::StrAppend(&out, "log-level = ", Quote(texts.log_level), "\n");
  absl::StrAppend(&out, "log-format = ", Quote(texts.log_format), "\n");
  return out;
}

ParsedConfig UsageError(absl::string_view message) {
  return {std::nullopt, kUsageError,
          absl::StrCat("vmeventd: ", message, "\nTry vmeventd --help.\n")};
}

std::string Explain(const CLI::ParseError& error) {
  std::string message = error.what();
  constexpr absl::string_view kExtras = "INI was not able to parse ";
  if (absl::StartsWith(message, kExtras)) {
    if (absl::EndsWith(message, ".++")) {  // what CLI11 makes of [name]
      return "--config: the file has a [section]; settings stand outside of any";
    }
    return absl::StrCat("--config: ", Quote(message.substr(kExtras.size())),
                        " is not a setting; settings are named like the flags, without --");
  }
  if (dynamic_cast<const CLI::FileError*>(&error) != nullptr) {
    return absl::StrCat("--config: ", message);
  }
  return message;
}

}  // namespace

Environment SystemEnvironment() {
  Environment environment;
  environment.uid = geteuid();
  environment.root = environment.uid == 0;
  environment.variable = [](const char* name) {
    const char* const value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  return environment;
}

ParsedConfig ParseConfig(const std::vector<std::string>& arguments,
                         const Environment& environment) {
  const Texts defaults = DefaultTexts(environment);
  Texts texts = defaults;
  texts.watch.clear();
  texts.listen.clear();
  CLI::App app(
      "vmeventd follows the QMP sockets of the QEMUs on this node and says who ended each VM",
      "vmeventd");
  DefineFlags(&app, defaults, &texts);
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(),
                                       arguments.rend()));  // CLI11 takes the last first
  } catch (const CLI::CallForHelp&) {
    return {std::nullopt, 0, app.help()};
  } catch (const CLI::CallForVersion& version) {
    return {std::nullopt, 0, absl::StrCat(version.what(), "\n")};
  } catch (const CLI::ParseError& error) {
    return UsageError(Explain(error));
  }
  if (texts.watch.empty()) texts.watch = defaults.watch;
  if (texts.listen.empty()) texts.listen = defaults.listen;
  absl::StatusOr<Config> config = ReadTexts(texts);
  if (!config.ok()) return UsageError(config.status().message());
  if (texts.check_config) return {std::nullopt, 0, Describe(*config, texts)};
  return {*std::move(config), 0, ""};
}

}  // namespace vmeventd
