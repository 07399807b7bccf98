#pragma once

#include <netinet/in.h>

#include <string>

// The peer of a connection, the unit of every per-peer limit: an IPv4 address, the /64 network of
// an IPv6 address, or a user of a Unix socket, as "192.0.2.7", "2001:db8:1:2::/64", "user 1000".
// Any thread.

namespace vmeventd {

// The peer of the connected socket `fd`. Empty: it is no longer connected.
std::string PeerOfSocket(int fd);
// The peer of a connection from `address`: its network, or the IPv4 address that it stands for.
std::string PeerOfIpv6(in6_addr address);

}  // namespace vmeventd
