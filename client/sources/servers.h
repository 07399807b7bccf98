#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/nats/connection.h"
#include "client/output/invocation.h"
#include "client/output/node_event.h"
#include "client/output/output.h"
#include "client/sources/daemon_node.h"
#include "client/sources/fleet_reader.h"
#include "client/sources/list_source.h"
#include "client/sources/source.h"

// The servers that a command asks, or the fleet, and the sources of what they know.

namespace vmeventd::client {

// The servers, or the NATS servers of a fleet.
struct Servers {
  std::vector<ServerAddress> servers;  // at least one, unless a fleet is asked
  std::optional<NatsOptions> fleet;    // asked instead of `servers`, which is empty then
  std::vector<std::string> nodes;      // nodes of the fleet: globs; empty: all
  // Begins a command to paste: "vmevents" with the options that were given to name the servers.
  std::string client = "vmevents";
  bool by_option = false;  // --server names them, and `client` has it

  const ServerAddress& server() const { return servers.front(); }
};

// The daemons, at least one, each with a name if there are several or they are to be `named`: that
// of its node, or its address where it does not report one in time, or one that another has too.
// Asks all at once.
std::vector<DaemonNode> NodesOf(const Servers& servers, bool named = false);

// The lists of the server, of the servers, or of the fleet. `named`: the events and VMs of one
// daemon have its node's name, too. `note` is called by any thread. `names` gets those of the
// servers, or that of the fleet.
std::unique_ptr<ListSource> ListsOf(const Servers& servers, bool named, PrintSentence note,
                                    std::vector<std::string>* names = nullptr);

// For the sentences about them; also of none, as where only files are read.
Invocation InvocationOf(const Servers& servers);

FleetEnvironment FleetOf(const Servers& servers, PrintSentence note);

// Positions at which to continue, keyed by server: see CursorKeys().
using WatchPositions = std::map<std::string, WatchPosition>;
// The keys of the servers, or that of the fleet.
std::vector<std::string> CursorKeys(const Servers& servers);

// Makes the source of the events: behind the positions of the servers that have one, else as the
// command starts. `stop` must outlive the source; `note` is called by any thread.
std::unique_ptr<Source> MakeSource(const WatchCommand& command, const Servers& servers,
                                   const WatchPositions& positions, StopSource* stop,
                                   const PrintSentence& note);

// Replaces the start of a command with the newest `last` events, at the servers without a position:
// by the oldest of the newest events of all. `note` gets the failure of one of several servers,
// whose history is not worth more than that of the others.
std::optional<Failure> SetStart(const Servers& servers, const WatchPositions& positions,
                                uint64_t last, const PrintSentence& note, WatchCommand* command);

}  // namespace vmeventd::client
