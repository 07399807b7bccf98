#ifndef VMEVENTD_CLIENT_FLEET_FLEET_LISTS_H_
#define VMEVENTD_CLIENT_FLEET_FLEET_LISTS_H_

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/commands/commands.h"
#include "client/commands/watch_cursor.h"
#include "client/fleet/fleet_filter.h"
#include "client/fleet/fleet_servers.h"
#include "client/output/formatter.h"
#include "client/output/output.h"

// The commands that ask a fleet one question. Each prints the answer and returns nothing, or the
// failure. An output whose reader has gone is no failure.

namespace vmeventd::client {

struct FleetContext {
  std::string servers;  // for messages
  FleetConnector connect;
  std::vector<std::string> nodes;  // globs, as of FleetFilter
  Formatter* formatter = nullptr;
  Output* output = nullptr;
  // Prints a sentence, safe for a terminal, to stderr.
  std::function<void(const std::string&)> note;
  std::function<absl::Time()> now = absl::Now;
};

// The nodes of a fleet.
struct FleetCommand {};

// In the order of the stream. With `newest_first` the newest kMostEvents, unless it has a limit.
inline constexpr uint64_t kMostEvents = 100'000;
std::optional<Failure> RunFleet(const EventsCommand& command, const FleetContext& context);
std::optional<Failure> RunFleet(const VmsCommand& command, const FleetContext& context);
std::optional<Failure> RunFleet(const VmCommand& command, const FleetContext& context);
std::optional<Failure> RunFleet(const FleetCommand& command, const FleetContext& context);

// Sets `start` to where a watch begins so that it first delivers the newest `last` events of the
// filter.
std::optional<Failure> FindFleetStart(const FleetFilter& filter, uint64_t last,
                                      const FleetContext& context, WatchStart* start);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_FLEET_FLEET_LISTS_H_
