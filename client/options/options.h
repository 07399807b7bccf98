#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/commands/health.h"
#include "client/commands/info.h"
#include "client/commands/intents.h"
#include "client/commands/status.h"
#include "client/commands/streams.h"
#include "client/commands/top.h"
#include "client/commands/vms.h"
#include "client/commands/why.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/consume/exec.h"
#include "client/fleet/fleet.h"
#include "client/push/push.h"
#include "client/sources/list_source.h"
#include "client/sources/source.h"

namespace vmeventd::client {

// Inputs of the parser besides the arguments.
struct OptionContext {
  // The value of an environment variable; empty: it is not set.
  std::function<std::string(const char* name)> variable = [](const char* /*name*/) { return ""; };
  std::string user;  // $SUDO_USER, else $USER, else by the uid
  unsigned uid = 0;
  // Reads the configuration file.
  std::function<absl::StatusOr<std::string>(const std::string& path)> read_config;
  // Returns whether a path exists, or may exist: see DefaultServerAddress().
  std::function<bool(const std::string& path)> may_exist;
  absl::Time now;
  absl::Time boot = absl::InfinitePast();  // of this host; InfinitePast: not known
  absl::TimeZone zone;
};

// As in ValuesOf("--output"). JSON is always an object a line.
enum class OutputFormat { kTable, kWide, kJson, kJsonLines, kName, kCsv };
enum class ColorMode { kAuto, kAlways, kNever };

// `watch` and `events -f`.
struct FollowCommand {
  WatchCommand watch;
  std::optional<uint64_t> count;          // ends after that many events
  std::optional<absl::Duration> timeout;  // ends after so long
  std::optional<uint64_t> last;           // begins with the newest so many events instead
  std::string cursor_file;                // empty: none
  std::string exec;                       // command for /bin/sh; empty: prints the events
  OnFailure on_failure = OnFailure::kStop;

  // Returns whether a GAP of the whole node counts, runs `exec`, and is pushed.
  bool asks_for_gaps() const { return AsksForGaps(watch.filter); }
};

// `push`.
struct PushCommand {
  FollowCommand follow;  // holds where it begins, and the filter
  std::string url;       // empty: the first line of `url_file` has it
  std::string url_file;
  PushFormat format = PushFormat::kCloudEvents;
  std::string template_file;                   // of kTemplate
  size_t batch = 100;                          // events of a request
  absl::Duration timeout = absl::Seconds(30);  // timeout of a request
  std::string secret_file;                     // empty: requests have no signature
  std::string header_file;                     // file with more headers; empty: none
  TlsOptions tls;                              // the target's
  // Into a fleet's stream:
  std::string cluster;      // of the node
  std::string credentials;  // a file; empty: none
  std::string domain;       // JetStream's; empty: the servers' own
  bool insecure_http = false;
  std::string state_dir;   // empty: below `state_home`, by the target
  std::string state_home;  // empty: there is none
  std::string metrics_file;
  bool status = false;           // shows what the push last did
  bool retry_set_aside = false;  // has what was set aside sent again
  bool test = false;             // sends one marked event instead, and shows the answer
  // Sends nothing itself.
  bool only_asks() const { return status || retry_set_aside; }
};

// `web`.
struct WebCommand {
  ServerAddress listen;    // a host and a port
  TlsOptions tls;          // cert_file empty: no TLS; ca_file empty: clients need no certificate
  std::string token_file;  // empty: clients need no token
};

// `doctor`, which looks at this node.
struct DoctorCommand {};

// `proxy`, the other end of ssh://.
struct ProxyCommand {};

// `fleet`, which shows the nodes.
struct FleetCommand {};

// The parsed and checked command line.
struct CommandLine {
  std::vector<ServerAddress> servers;  // at least one, unless a fleet is asked
  std::string origin;                  // what names them, unless options do; empty: nothing does
  std::optional<NatsOptions> fleet;    // asked instead of `servers`, which is empty then
  std::vector<std::string> nodes;      // nodes of the fleet: globs; empty: all
  OutputFormat format = OutputFormat::kTable;
  ColorMode color = ColorMode::kAuto;
  absl::TimeZone zone;
  bool headings = true;
  bool cut = true;    // rows where the terminal ends
  bool pager = true;  // used on a terminal, for long lists
  // Begins a command to paste: "vmevents" with the options that were given to name the server.
  std::string client = "vmevents";
  std::string before;  // the begin of a word that each name completes: "web1,"
  const ServerAddress& server() const { return servers.front(); }
  bool for_people() const {
    return format == OutputFormat::kTable || format == OutputFormat::kWide;
  }
  bool is_json() const {
    return format == OutputFormat::kJson || format == OutputFormat::kJsonLines;
  }
  std::variant<FollowCommand, PushCommand, WebCommand, TopCommand, WhyCommand, EventsCommand,
               VmsCommand, DeclareIntentCommand, IntentsCommand, WithdrawIntentCommand, InfoCommand,
               StatusCommand, StatsCommand, ProxyCommand, StreamsCommand, HealthCommand,
               DoctorCommand, FleetCommand, FleetCreateCommand>
      command;
};

// The command line is already answered: by --help, --version or a complaint.
struct Answered {
  ExitCode code = ExitCode::kOk;
  std::string out;      // text for standard output
  std::string err;      // text for standard error: a sentence, safe for a terminal
  std::string fault{};  // of a command line that is wrong: the sentence without where to look
};

// `arguments` without the program's name. Pure, but for the context's functions.
std::variant<CommandLine, Answered> ParseCommandLine(const std::vector<std::string>& arguments,
                                                     const OptionContext& context);

}  // namespace vmeventd::client
