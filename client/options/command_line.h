#pragma once

#include <string>
#include <variant>

#include "absl/time/time.h"
#include "client/commands/health.h"
#include "client/commands/info.h"
#include "client/commands/intents.h"
#include "client/commands/status.h"
#include "client/commands/streams.h"
#include "client/commands/top.h"
#include "client/commands/vms.h"
#include "client/commands/web.h"
#include "client/commands/why.h"
#include "client/fleet/create_fleet.h"
#include "client/sinks/follow_command.h"
#include "client/sinks/push_command.h"
#include "client/sources/daemon_health.h"
#include "client/sources/events_command.h"
#include "client/sources/servers.h"
#include "client/sources/stats_command.h"

// The parsed command line.

namespace vmeventd::client {

// Forms of the output, in the order of ValuesOf("--output"). JSON always has one object on each
// line.
enum class OutputFormat { kTable, kWide, kJson, kJsonLines, kName, kCsv };
enum class ColorMode { kAuto, kAlways, kNever };

// `doctor`, which examines this node.
struct DoctorCommand {};

// `proxy`, which runs on the remote host of ssh://.
struct ProxyCommand {};

// `fleet`, which shows the fleet's nodes.
struct FleetCommand {};

// The parsed and checked command line.
struct CommandLine {
  Servers servers;
  // The variable or context that named the servers; empty: an option did, or nothing.
  std::string origin;
  OutputFormat format = OutputFormat::kTable;
  ColorMode color = ColorMode::kAuto;
  absl::TimeZone zone;
  bool headings = true;
  bool cut = true;         // cuts rows at the terminal's width
  bool pager = true;       // uses a pager on a terminal, for long lists
  bool completes = false;  // lists names for a shell to complete
  std::string before;      // the beginning of a word that each name completes: "web1,"
  bool for_people() const {
    return format == OutputFormat::kTable || format == OutputFormat::kWide;
  }
  bool is_json() const {
    return format == OutputFormat::kJson || format == OutputFormat::kJsonLines;
  }
  // Returns whether GAPs of the whole node are printed that the filter does not ask for: to people,
  // and in a stream, because the missing events may have matched. A finished list for programs has
  // exactly the events that match.
  bool prints_gaps() const {
    const auto* const list = std::get_if<EventsCommand>(&command);
    return for_people() || list == nullptr || AsksForGaps(list->request.filter());
  }
  std::variant<FollowCommand, PushCommand, WebCommand, TopCommand, WhyCommand, EventsCommand,
               VmsCommand, DeclareIntentCommand, IntentsCommand, WithdrawIntentCommand, InfoCommand,
               StatusCommand, StatsCommand, ProxyCommand, StreamsCommand, HealthCommand,
               DoctorCommand, FleetCommand, FleetCreateCommand>
      command;
};

}  // namespace vmeventd::client
