#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/connect/stop_source.h"
#include "client/nats/options.h"
#include "client/output/invocation.h"
#include "client/output/print_sentence.h"
#include "client/output/watch_position.h"
#include "client/sources/daemon_node.h"
#include "client/sources/fleet_reader.h"
#include "client/sources/list_source.h"
#include "client/sources/source.h"
#include "client/sources/watch_command.h"

// The servers or the fleet that a command asks, and the sources for them.

namespace vmeventd::client {

// The servers, or the NATS servers of a fleet.
struct Servers {
  std::vector<ServerAddress> servers;  // at least one, unless a fleet is asked
  std::optional<NatsOptions> fleet;    // asked instead of `servers`, which is then empty
  std::vector<std::string> nodes;      // globs of the fleet's nodes; empty: all nodes
  // The beginning of a command to paste: "vmevents" with the options that named the servers.
  std::string client = "vmevents";
  bool by_option = false;  // --server names them, and `client` has it

  const ServerAddress& server() const { return servers.front(); }
};

// Returns the daemons, at least one. If there are several, or if `named`, each gets a name: that of
// its node, or its address if it does not report a name in time or another daemon has the same
// name. Asks all at once.
std::vector<DaemonNode> NodesOf(const Servers& servers, bool named = false);

// Returns the lists of the server, the servers or the fleet. `named`: the events and VMs of a
// single daemon also have its node's name. `note` is called by any thread. `*names` gets the names
// of the servers, or that of the fleet.
std::unique_ptr<ListSource> ListsOf(const Servers& servers, bool named, PrintSentence note,
                                    std::vector<std::string>* names = nullptr);

// The invocation for sentences about the servers. There may be no server, if only files are read.
Invocation InvocationOf(const Servers& servers);

FleetEnvironment FleetOf(const Servers& servers, PrintSentence note);

// Positions from which to resume, keyed by server: see CursorKeys().
using WatchPositions = std::map<std::string, WatchPosition>;
// The keys of the servers, or the key of the fleet.
std::vector<std::string> CursorKeys(const Servers& servers);

// Makes the source of the events. A server with a position resumes after it; the others start as
// the command says. `stop` must outlive the source; `note` is called by any thread.
std::unique_ptr<Source> MakeSource(const WatchCommand& command, const Servers& servers,
                                   const WatchPositions& positions, StopSource* stop,
                                   const PrintSentence& note);

// For the servers without a position, replaces the command's start: it now starts with the oldest
// of the newest `last` events of all these servers. If one of several servers fails, `note` gets
// the failure, and the history of the others is used.
std::optional<Failure> SetStart(const Servers& servers, const WatchPositions& positions,
                                uint64_t last, const PrintSentence& note, WatchCommand* command);

}  // namespace vmeventd::client
