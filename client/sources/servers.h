#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/connect/server_address.h"
#include "client/nats/options.h"
#include "client/output/invocation.h"
#include "client/output/watch_position.h"
#include "client/sources/daemon_node.h"

// The servers or the fleet that a command asks.

namespace vmeventd::client {

// The servers, or the NATS servers of a fleet.
struct Servers {
  std::vector<ServerAddress> addresses;  // at least one, unless a fleet is asked
  std::optional<NatsOptions> fleet;      // asked instead of `addresses`, which is then empty
  std::vector<std::string> nodes;        // globs of the fleet's nodes; empty: all nodes
  // The beginning of a command to paste: "vmevents" with the options that named the servers.
  std::string client = "vmevents";
  bool by_option = false;  // --server names them, and `client` has it

  const ServerAddress& first() const { return addresses.front(); }
};

// Returns the daemons, at least one. If there are several, or if `named`, each gets a name: that of
// its node, or its address if it does not report a name in time or another daemon has the same
// name. Asks all at once.
std::vector<DaemonNode> NodesOf(const Servers& servers, bool named = false);

// The invocation for sentences about the servers. There may be no server, if only files are read.
Invocation InvocationOf(const Servers& servers);

}  // namespace vmeventd::client
