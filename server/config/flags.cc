#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/text.h"
#include "server/config/config.h"

namespace vmeventd {
namespace {

using Texts = std::vector<std::string>;

constexpr int64_t kMaxClients = 100'000;
constexpr int64_t kMaxMetricsVms = 1'000;
constexpr int64_t kMaxEvents = 1'000'000'000'000;

absl::Status CheckDirectory(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && !S_ISDIR(info.st_mode)) {
    return InvalidText(path, "exists and is not a directory");
  }
  return absl::OkStatus();  // the daemon waits for a missing one
}

// A flag of one text, which `read` takes and `print` gives; printed empty: no value.
Flag One(std::string name, std::string argument, std::string help,
         std::function<absl::Status(const std::string& text, Config* config)> read,
         std::function<std::string(const Config&)> print, Flag::Kind kind = Flag::Kind::kText) {
  return {.name = std::move(name),
          .argument = std::move(argument),
          .help = std::move(help),
          .kind = kind,
          .read = [read = std::move(read)](const Texts& texts,
                                           Config* config) { return read(texts.front(), config); },
          .print =
              [print = std::move(print)](const Config& config) {
                const std::string text = print(config);
                return text.empty() ? Texts{} : Texts{text};
              }};
}

Flag Switch(std::string name, bool Config::*field, std::string help) {
  return One(
      std::move(name), "", std::move(help),
      [field](const std::string& text, Config* config) {
        config->*field = text == "true";
        return absl::OkStatus();
      },
      [field](const Config& config) { return config.*field ? "true" : ""; }, Flag::Kind::kSwitch);
}

Flag Number(std::string name, int64_t Config::*field, int64_t max, std::string help,
            int64_t min = 1) {
  return One(
      std::move(name), "NUMBER", std::move(help),
      [field, min, max](const std::string& text, Config* config) {
        int64_t& out = config->*field;
        if (absl::SimpleAtoi(text, &out) && out >= min && out <= max) return absl::OkStatus();
        return InvalidText(text, absl::StrCat("is not a number from ", min, " to ", max));
      },
      [field](const Config& config) { return absl::StrCat(config.*field); }, Flag::Kind::kNumber);
}

absl::Status ReadHangCheck(const std::string& text, Config* config) {
  constexpr absl::Duration kLeast = absl::Seconds(1);
  const auto duration = text == "off" ? absl::InfiniteDuration() : ParseDuration(text);
  if (!duration.has_value() || *duration < kLeast) {
    return InvalidText(text,
                       "is neither off nor a duration of at least a second, such as 30s or 5m");
  }
  config->hang_check = *duration;
  return absl::OkStatus();
}

Flag Time(std::string name, absl::Duration Config::*field, std::string help) {
  return One(
      std::move(name), "DURATION", std::move(help),
      [field](const std::string& text, Config* config) {
        const auto duration = ParseDuration(text);
        if (!duration.has_value() || *duration <= absl::ZeroDuration() ||
            *duration >= absl::InfiniteDuration()) {
          return InvalidText(text,
                             "is not a positive duration with a unit, such as 500ms, 3s, 10m, "
                             "1h30m or 30d");
        }
        config->*field = *duration;
        return absl::OkStatus();
      },
      [field](const Config& config) { return PrintDuration(config.*field); });
}

// A flag that takes one of a few words, each with its value.
template <typename Value>
Flag Word(const std::string& name, const std::string& argument, Value Config::*field,
          std::initializer_list<std::pair<const char*, Value>> words, const std::string& help) {
  const std::vector<std::pair<const char*, Value>> table = words;
  return One(
      name, argument, help,
      [field, table](const std::string& text, Config* config) {
        for (const auto& [word, value] : table) {
          if (text != word) continue;
          config->*field = value;
          return absl::OkStatus();
        }
        const auto append = [](std::string* out, const auto& row) {
          absl::StrAppend(out, row.first);
        };
        return InvalidText(text,
                           absl::StrCat("is not one of ", absl::StrJoin(table, ", ", append)));
      },
      [field, table](const Config& config) {
        for (const auto& [word, value] : table) {
          if (config.*field == value) return word;
        }
        return "";
      });
}

// A text that `ParseConfig` checks together with others; empty: not set.
Flag Text(std::string name, std::string argument, std::string Config::*field, std::string help) {
  return One(
      std::move(name), std::move(argument), std::move(help),
      [field](const std::string& text, Config* config) {
        config->*field = text;
        return absl::OkStatus();
      },
      [field](const Config& config) { return config.*field; });
}

// A list of what `parse` reads and `print` writes. Refuses the second of two with the same `key`;
// an empty key may be there again.
template <typename Spec, typename Parse, typename Print, typename Key>
Flag List(std::string name, std::string argument, std::vector<Spec> Config::*field, Parse parse,
          Print print, Key key, std::string help) {
  return {.name = std::move(name),
          .argument = std::move(argument),
          .help = std::move(help),
          .repeatable = true,
          .read = [field, parse, key](const Texts& texts, Config* config) -> absl::Status {
            (config->*field).clear();
            std::set<std::string> keys;
            for (const std::string& text : texts) {
              absl::StatusOr<Spec> spec = parse(text);
              if (!spec.ok()) return spec.status();
              const std::string own = key(*spec);
              if (!own.empty() && !keys.insert(own).second) {
                return InvalidText(text, "is given twice");
              }
              (config->*field).push_back(*std::move(spec));
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

absl::StatusOr<WatchSpec> ReadWatch(const std::string& text) {
  absl::StatusOr<WatchSpec> watch = ParseWatchSpec(text);
  if (!watch.ok()) return watch;
  if (absl::Status status = CheckDirectory(watch->root()); !status.ok()) return status;
  return watch;
}

std::string PrintWatch(const WatchSpec& watch) { return watch.text(); }

absl::StatusOr<std::string> ReadOperator(const std::string& text) {
  if (text.empty()) return InvalidText(text, "must not be empty");
  return text;
}

// The kernel chooses another port for each of two.
std::string KeyOfListen(const ListenAddress& listen) {
  return listen.is_unix() || listen.port != 0 ? listen.ToString() : "";
}

absl::Status ReadMetricsListen(const std::string& text, Config* config) {
  config->metrics_listen.reset();
  if (text.empty()) return absl::OkStatus();
  absl::StatusOr<ListenAddress> address = ParseListenAddress(text);
  if (!address.ok()) return address.status();
  if (address->is_unix()) return InvalidText(text, "is a Unix socket; write HOST:PORT");
  if (address->role.has_value()) return InvalidText(text, "takes no role=");
  config->metrics_listen = *std::move(address);
  return absl::OkStatus();
}

absl::Status ReadStateDir(const std::string& text, Config* config) {
  if (text.empty()) return InvalidText(text, "must not be empty");
  std::error_code error;
  const std::filesystem::path path = std::filesystem::absolute(text, error);
  if (error) return InvalidText(text, absl::StrCat("cannot be made absolute: ", error.message()));
  std::string directory = path.lexically_normal().string();
  while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  config->state_dir = directory;
  return CheckDirectory(directory);
}

std::vector<Flag> MakeFlags() {
  return {
      List("watch", "DIR[:PATTERN]", &Config::watches, ReadWatch, PrintWatch, PrintWatch,
           "Follow the QMP sockets in DIR that match PATTERN, which has one * for the VM's name "
           "(by default *.qmp, in Ganeti's directory *.kvmd), or /run/vms/*/qmp.sock where each "
           "VM has a directory; repeatable. Without --watch and --libvirt, libvirt's system socket "
           "and Ganeti's directory are followed, each as soon as it exists"),
      Switch("watch-manager-sockets", &Config::watch_manager_sockets,
             "Permit a --watch that takes a VM manager's own monitor (Proxmox VE, Ganeti, libvirt, "
             "Incus): the manager can no longer control its VMs"),
      List("libvirt", "URI", &Config::libvirts, ParseLibvirtUri, std::mem_fn(&LibvirtSpec::ToFlag),
           std::mem_fn(&LibvirtSpec::ToFlag),
           "Follow the domains of this libvirt: qemu:///system, qemu:///session, "
           "qemu+unix:///system?socket=PATH, where PATH may have wildcards (* ? [a-z]), or "
           "lxc:///system, its containers; repeatable. Needs the package libvirt0"),
      List("listen", "ADDRESS[,OPTION=VALUE...]", &Config::listens, ParseListenAddress,
           std::mem_fn(&ListenAddress::ToFlag), KeyOfListen,
           "Serve gRPC on unix:PATH or on HOST:PORT; repeatable. Options: role=reader (may watch "
           "and query) or role=operator (may declare intents too); of a Unix socket mode=0660 and "
           "group=NAME"),
      Text("tls-cert", "FILE", &Config::tls_cert,
           "Speak TLS on every --listen HOST:PORT, with this certificate and its chain (PEM). The "
           "TLS files may be replaced at any time: new connections use what they then hold"),
      Text("tls-key", "FILE", &Config::tls_key, "The private key of --tls-cert (PEM, no password)"),
      Text("tls-client-ca", "FILE", &Config::tls_client_ca,
           "Accept TLS connections only from clients with a certificate of these authorities "
           "(PEM)"),
      List(
          "tls-operator", "NAME", &Config::tls_operators, ReadOperator,
          [](const std::string& name) { return name; },
          [](const std::string&) { return std::string(); },
          "A client whose certificate has this subject alternative name (DNS, URI, email or IP) is "
          "an operator, every other a reader; repeatable"),
      Switch("insecure-listen", &Config::insecure_listen,
             "Permit --listen and --metrics-listen beyond loopback without TLS: anyone who can "
             "reach the port, or listens on the path, can read everything"),
      Number(
          "max-connections", &Config::max_connections, kMaxClients,
          "Accept at most this many connections on each --listen, and half as many from one peer"),
      Number(
          "max-streams", &Config::max_streams, kMaxClients,
          "Serve at most this many WatchEvents streams on each --listen, and half as many to one "
          "peer: an IPv4 address, an IPv6 /64 network, or a user of a Unix socket"),
      One("metrics-listen", "HOST:PORT", "Serve Prometheus metrics by HTTP, at /metrics",
          ReadMetricsListen,
          [](const Config& config) {
            return config.metrics_listen.has_value() ? config.metrics_listen->ToString() : "";
          }),
      Number("metrics-vms", &Config::metrics_vms, kMaxMetricsVms,
             "Name the VMs of this many of the latest stops in the metrics, for alerts that name "
             "the VM that crashed; 0: no VM is named",
             0),
      One("state-dir", "DIR", "The daemon's directory, which contains the journal", ReadStateDir,
          std::mem_fn(&Config::state_dir)),
      Time("powerdown-window", &Config::powerdown_window,
           "A guest's poweroff within this time of an ACPI powerdown counts as requested by the "
           "host; such as 3s, 10m or 1h30m"),
      One("hang-check", "DURATION|off",
          "Ask each QEMU whose VM runs for its run state at this interval: a VM whose QEMU "
          "does not answer within 10 s is UNREACHABLE",
          ReadHangCheck,
          [](const Config& config) {
            return config.hang_check == absl::InfiniteDuration() ? "off"
                                                                 : PrintDuration(config.hang_check);
          }),
      Time("retention-age", &Config::retention_age,
           "Retain events in the journal for this time; such as 12h or 30d"),
      Number("retention-events", &Config::retention_events, kMaxEvents,
             "Retain this many events in the journal; up to 1% more may wait to be deleted"),
      Word<bool>("process-tracking", "auto|off", &Config::process_tracking,
                 {{"auto", true}, {"off", false}},
                 "off: a VM counts as ended when its monitor's connection ends, whatever its "
                 "process does"),
      Word<SignalSenders>("signal-senders", "auto|off|require", &Config::signal_senders,
                          {{"auto", SignalSenders::kAuto},
                           {"off", SignalSenders::kOff},
                           {"require", SignalSenders::kRequire}},
                          "Use the kernel's records of signals to report who killed a VM; require: "
                          "do not start without them"),
      Word<LogLevel>("log-level", "LEVEL", &Config::log_level,
                     {{"trace", LogLevel::kTrace},
                      {"debug", LogLevel::kDebug},
                      {"info", LogLevel::kInfo},
                      {"warn", LogLevel::kWarn},
                      {"error", LogLevel::kError}},
                     "trace, debug, info, warn or error"),
      Word<LogFormat>("log-format", "text|json", &Config::log_format,
                      {{"text", LogFormat::kText}, {"json", LogFormat::kJson}},
                      "json: one object a line"),
      Text("node", "NAME", &Config::node,
           "The name of this node, in GetServerInfo and in a fleet's stream; the host name if not "
           "given. In a container give the node's name: the container's own changes"),
  };
}

}  // namespace

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
