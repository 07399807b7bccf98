#include "client/sources/watch_positions.h"

#include "client/connect/server_address.h"
#include "client/sources/fleet_source.h"

namespace vmeventd::client {

std::vector<std::string> CursorKeys(const Servers& servers) {
  if (servers.fleet) return {kFleetCursorKey};
  std::vector<std::string> keys;
  for (const ServerAddress& server : servers.addresses) keys.push_back(ToText(server));
  return keys;
}

}  // namespace vmeventd::client
