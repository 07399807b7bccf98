#pragma once

#include <map>
#include <string>
#include <vector>

#include "client/output/watch_position.h"
#include "client/sources/servers.h"

namespace vmeventd::client {

// Positions from which to resume, keyed by server: see CursorKeys().
using WatchPositions = std::map<std::string, WatchPosition>;
// The keys of the servers, or the key of the fleet.
std::vector<std::string> CursorKeys(const Servers& servers);

}  // namespace vmeventd::client
