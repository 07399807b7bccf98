#include "server/config/flags.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/do_within.h"
#include "base/duration_text.h"
#include "base/quote.h"
#include "server/config/config.h"
#include "server/config/listen_address.h"
#include "server/config/log_format.h"
#include "watcher/core/source_specs.h"

namespace vmeventd {
namespace {

using Texts = std::vector<std::string>;

constexpr int64_t kMaxClients = 100'000;
constexpr int64_t kMaxMetricsVms = 1'000;
constexpr int64_t kMaxRetentionEvents = 1'000'000'000'000;

// INVALID_ARGUMENT: `path` exists and is no directory. `instead_of_socket`: what to write if it is
// a socket; empty: nothing is known.
absl::Status CheckDirectory(const std::string& path, absl::string_view instead_of_socket = "") {
  const auto there = std::make_shared<struct stat>();
  // The running daemon reports a directory that hangs.
  const bool answers = DoWithin(kFileSystemPatience, [path, there] {
    if (stat(path.c_str(), there.get()) != 0) there->st_mode = S_IFDIR;
  });
  if (!answers || S_ISDIR(there->st_mode)) {
    return absl::OkStatus();  // the daemon waits for a missing one
  }
  if (S_ISSOCK(there->st_mode) && !instead_of_socket.empty()) {
    return InvalidText(path, absl::StrCat("is a socket; write ", instead_of_socket));
  }
  return InvalidText(path, "exists and is not a directory");
}

// A flag with one value, which `parse` reads and `print` writes. `print` returns "" if there is no
// value.
template <typename Value, typename Parse, typename Print>
Flag One(const std::string& name, const std::string& argument, Value Config::*field, Parse parse,
         Print print, const std::string& help, Flag::Kind kind = Flag::Kind::kText) {
  return {.name = name,
          .argument = argument,
          .help = help,
          .kind = kind,
          .read = [field, parse](const Texts& texts, Config* config) -> absl::Status {
            absl::StatusOr<Value> value = parse(texts.back());
            if (!value.ok()) return value.status();
            config->*field = *std::move(value);
            return absl::OkStatus();
          },
          .print =
              [field, print](const Config& config) {
                const std::string text = print(config.*field);
                return text.empty() ? Texts{} : Texts{text};
              }};
}

std::string Same(const std::string& text) { return text; }

Flag Switch(const std::string& name, bool Config::*field, const std::string& help) {
  return One(
      name, "", field, [](const std::string& text) { return text == "true"; },
      [](bool on) { return on ? "true" : ""; }, help, Flag::Kind::kSwitch);
}

Flag Number(const std::string& name, int64_t Config::*field, int64_t max, const std::string& help,
            int64_t min = 1) {
  const auto parse = [min, max](const std::string& text) -> absl::StatusOr<int64_t> {
    int64_t out = 0;
    if (absl::SimpleAtoi(text, &out) && out >= min && out <= max) return out;
    return InvalidText(text, absl::StrCat("is not a number from ", min, " to ", max));
  };
  return One(
      name, "NUMBER", field, parse, [](int64_t value) { return absl::StrCat(value); }, help,
      Flag::Kind::kNumber);
}

Flag Time(const std::string& name, absl::Duration Config::*field, const std::string& help) {
  const auto parse = [](const std::string& text) -> absl::StatusOr<absl::Duration> {
    const auto duration = ParseDuration(text);
    if (duration > absl::ZeroDuration() && duration < absl::InfiniteDuration()) return *duration;
    return InvalidText(
        text, "is not a positive duration with a unit, such as 500ms, 3s, 10m, 1h30m or 30d");
  };
  return One(name, "DURATION", field, parse, PrintDuration, help);
}

// A flag that accepts one of a few words; each word stands for a value.
template <typename Value>
Flag Word(const std::string& name, const std::string& argument, Value Config::*field,
          std::vector<std::pair<std::string, Value>> words, const std::string& help) {
  const auto parse = [words](const std::string& text) -> absl::StatusOr<Value> {
    for (const auto& [word, value] : words) {
      if (text == word) return value;
    }
    const auto append = [](std::string* out, const auto& row) { absl::StrAppend(out, row.first); };
    return InvalidText(text, absl::StrCat("is not one of ", absl::StrJoin(words, ", ", append)));
  };
  const auto print = [words](Value value) {
    return std::find_if(words.begin(), words.end(),
                        [value](const auto& row) { return row.second == value; })
        ->first;
  };
  return One(name, argument, field, parse, print, help);
}

// A flag with a list of values, which `parse` reads and `print` writes. Refuses two values with the
// same `key`, unless the key is empty.
template <typename Spec, typename Parse, typename Print, typename Key>
Flag List(const std::string& name, const std::string& argument, std::vector<Spec> Config::*field,
          Parse parse, Print print, Key key, const std::string& help) {
  return {.name = name,
          .argument = argument,
          .help = help,
          .repeatable = true,
          .read = [field, parse, key](const Texts& texts, Config* config) -> absl::Status {
            std::vector<Spec>& specs = config->*field;
            specs.clear();
            std::set<std::string> keys;
            for (const std::string& text : texts) {
              absl::StatusOr<Spec> spec = parse(text);
              if (!spec.ok()) return spec.status();
              const std::string own = key(*spec);
              if (!own.empty() && !keys.insert(own).second) {
                return InvalidText(text, "is given twice");
              }
              specs.push_back(*std::move(spec));
            }
            return absl::OkStatus();
          },
          .print =
              [field, print](const Config& config) {
                Texts out;
                for (const Spec& spec : config.*field) out.push_back(print(spec));
                return out;
              }};
}

absl::Status ReadSetting(const SourceSetting& setting, const Texts& texts, SourceSpecs* specs) {
  if (absl::Status status = setting.read(texts, specs); !status.ok()) return status;
  const Texts values = setting.print(*specs);
  std::set<std::string> known;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!known.insert(values[i]).second) return InvalidText(texts[i], "is given twice");
  }
  if (setting.directories == nullptr) return absl::OkStatus();
  for (const std::string& path : setting.directories(*specs)) {
    absl::Status status = CheckDirectory(path, setting.instead_of_socket);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadOperator(const std::string& text) {
  if (text.empty()) return InvalidText(text, "must not be empty");
  // A DNS name has no "@", and a URI a scheme before it.
  const size_t scheme = text.find_first_of(":@");
  if (scheme != text.npos && (text[scheme] == '@' || !absl::ascii_isalpha(text[0]))) {
    return InvalidText(text,
                       "is neither a DNS name nor a URI; an operator is named by one of these");
  }
  return text;
}

// The key of a listener for List(). Empty for TCP with port 0, which may be given twice: the kernel
// chooses a different port for each.
std::string KeyOfListen(const ListenAddress& listen) {
  return listen.is_unix() || listen.port != 0 ? listen.ToString() : "";
}

absl::StatusOr<std::optional<ListenAddress>> ReadMetricsListen(const std::string& text) {
  if (text.empty()) return std::nullopt;
  if (text.find(':') == text.npos) {
    return InvalidText(text, "is not HOST:PORT, such as 127.0.0.1:9556");
  }
  absl::StatusOr<ListenAddress> address = ParseListenAddress(text);
  if (!address.ok()) return address.status();
  if (address->is_unix()) return InvalidText(text, "is a Unix socket; write HOST:PORT");
  if (address->readers_only) return InvalidText(text, "takes no role=");
  return *std::move(address);
}

absl::StatusOr<std::string> ReadStateDir(const std::string& text) {
  if (text.empty()) return InvalidText(text, "must not be empty");
  std::error_code error;
  const std::filesystem::path path = std::filesystem::absolute(text, error);
  if (error) return InvalidText(text, absl::StrCat("cannot be made absolute: ", error.message()));
  std::string directory = path.lexically_normal().string();
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  if (absl::Status status = CheckDirectory(directory); !status.ok()) return status;
  return directory;
}

absl::StatusOr<absl::Duration> ReadHangCheck(const std::string& text) {
  const auto duration = text == "off" ? absl::InfiniteDuration() : ParseDuration(text);
  if (duration >= absl::Seconds(1)) return *duration;
  return InvalidText(text, "is neither off nor a duration of at least a second, such as 30s or 5m");
}

absl::StatusOr<std::string> ReadNode(const std::string& text) {
  constexpr size_t kMaxNode = 253;  // limit of a host name in the DNS
  if (text.size() > kMaxNode) {
    return InvalidText(text, absl::StrCat("is longer than ", kMaxNode, " bytes"));
  }
  if (!std::all_of(text.begin(), text.end(), absl::ascii_isgraph)) {
    return InvalidText(text, "has bytes that are not visible ASCII");
  }
  return text;
}

std::vector<Flag> OwnFlags() {
  return {
      List("listen", "ADDRESS[,OPTION=VALUE...]", &Config::listens, ParseListenAddress,
           std::mem_fn(&ListenAddress::ToFlag), KeyOfListen,
           "Serve gRPC on unix:PATH or on HOST:PORT; repeatable. Options: role=reader (every "
           "caller may only watch and query); of a Unix socket mode=0660 and group=NAME"),
      One("tls-cert", "FILE", &Config::tls_cert, Same, Same,
          "Use TLS on every --listen HOST:PORT, with this certificate and its chain (PEM); needs "
          "--tls-key. The TLS files may be replaced while vmeventd runs: new connections then use "
          "the new files"),
      One("tls-key", "FILE", &Config::tls_key, Same, Same,
          "The private key of --tls-cert (PEM, no password)"),
      One("tls-client-ca", "FILE", &Config::tls_client_ca, Same, Same,
          "Accept TLS connections only from clients whose certificate is issued by one of these "
          "authorities (PEM)"),
      List(
          "tls-operator", "NAME", &Config::tls_operators, ReadOperator, Same,
          [](const std::string&) { return std::string(); },
          "A client whose certificate has this subject alternative name (DNS or URI) is an "
          "operator, all others are readers; repeatable"),
      Switch(
          "insecure-listen", &Config::insecure_listen,
          "Permit --listen and --metrics-listen without TLS on addresses beyond loopback: anyone "
          "who can reach the port, or read the traffic, can read all events"),
      Number(
          "max-connections", &Config::max_connections, kMaxClients,
          "Accept at most this many connections on each --listen, and half as many from one peer"),
      Number(
          "max-streams", &Config::max_streams, kMaxClients,
          "Serve at most this many WatchEvents streams on each --listen, and half as many to one "
          "peer: an IPv4 address, an IPv6 /64 network, or a user of a Unix socket"),
      One(
          "metrics-listen", "HOST:PORT", &Config::metrics_listen, ReadMetricsListen,
          [](const auto& address) { return address.has_value() ? address->ToString() : ""; },
          "Serve Prometheus metrics at /metrics over HTTP, without TLS"),
      Number(
          "metrics-vms", &Config::metrics_vms, kMaxMetricsVms,
          "Name the VMs of this many of the latest ends in the metrics, so that an alert can say "
          "which VM crashed; 0: name no VM",
          0),
      One("state-dir", "DIR", &Config::state_dir, ReadStateDir, Same,
          "The directory in which the daemon saves its journal and its state"),
      List(
          "label", "PATTERN:KEY=VALUE,...", &Config::labels,
          [](const std::string& text) { return ParseLabelRule(text); },
          [](const LabelRule& rule) { return rule.text(); },
          [](const LabelRule& rule) { return rule.text(); },
          "Give VMs whose name matches PATTERN, such as web*, these labels when they start, unless "
          "they already have labels with those keys; repeatable"),
      Time(
          "powerdown-window", &Config::powerdown_window,
          "If a guest powers off within this time after an ACPI powerdown, the host's admin counts "
          "as the one who asked for it; such as 3s, 10m or 1h30m"),
      One(
          "hang-check", "DURATION|off", &Config::hang_check, ReadHangCheck,
          [](absl::Duration interval) {
            return interval == absl::InfiniteDuration() ? "off" : PrintDuration(interval);
          },
          "Ask each QEMU whose VM runs for its run state at this interval; if it does not answer "
          "within 10 s, the VM is reported as UNREACHABLE. off: do not ask"),
      Time("retention-age", &Config::retention_age,
           "Retain events in the journal for this time; such as 12h or 30d"),
      Number("retention-events", &Config::retention_events, kMaxRetentionEvents,
             "Retain at most this many events in the journal, and briefly up to 1% more"),
      Word<bool>("process-tracking", "auto|off", &Config::process_tracking,
                 {{"auto", true}, {"off", false}},
                 "auto: a VM has ended when its process is gone. off: it has ended when its "
                 "monitor's connection ends, even if its process still runs"),
      Word<SignalSenders>("signal-senders", "auto|off|require", &Config::signal_senders,
                          {{"auto", SignalSenders::kAuto},
                           {"off", SignalSenders::kOff},
                           {"require", SignalSenders::kRequire}},
                          "auto: use the kernel's records of signals, if available, to report who "
                          "killed a VM. off: do not use them. require: do not start without them"),
      Word<spdlog::level::level_enum>(
          "log-level", "LEVEL", &Config::log_level,
          {{"trace", spdlog::level::trace},
           {"debug", spdlog::level::debug},
           {"info", spdlog::level::info},
           {"warn", spdlog::level::warn},
           {"error", spdlog::level::err}},
          "Write log lines of this level and above: trace, debug, info, warn or error"),
      Word<LogFormat>("log-format", "text|json", &Config::log_format,
                      {{"text", LogFormat::kText}, {"json", LogFormat::kJson}},
                      "text: lines for people. json: one JSON object a line"),
      One("node", "NAME", &Config::node, ReadNode, Same,
          "The name of this node in GetServerInfo and in a fleet's stream; without it, the host "
          "name. In a container, set it to the node's name: the container's host name changes"),
  };
}

std::vector<Flag> MakeFlags() {
  std::vector<Flag> all;
  for (const SourceSetting* setting : kSourceSettings) all.push_back(FlagOf(*setting));
  absl::StrAppend(&all.front().help, ". ", DefaultSourcesHelp());
  for (Flag& flag : OwnFlags()) all.push_back(std::move(flag));
  return all;
}

}  // namespace

Flag FlagOf(const SourceSetting& setting) {
  return {
      .name = setting.name,
      .argument = setting.argument,
      .help = setting.help,
      .kind = setting.is_switch() ? Flag::Kind::kSwitch : Flag::Kind::kText,
      .repeatable = !setting.is_switch(),
      .read = [&setting](const Texts& texts,
                         Config* config) { return ReadSetting(setting, texts, &config->sources); },
      .print = [&setting](const Config& config) { return setting.print(config.sources); }};
}

const std::vector<Flag>& Flags() {
  static const auto* const flags = new std::vector<Flag>(MakeFlags());
  return *flags;
}

std::string ConfigFileValue(const Flag& flag, const Config& config) {
  const Texts values = flag.print(config);
  if (values.empty()) return "";
  if (flag.kind != Flag::Kind::kText) return values.front();
  const std::string texts = absl::StrJoin(values, ", ", [](std::string* out, const auto& value) {
    absl::StrAppend(out, Quote(value));
  });
  return flag.repeatable ? absl::StrCat("[", texts, "]") : texts;
}

}  // namespace vmeventd
