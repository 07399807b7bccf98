#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/loopback.h"

namespace vmeventd {

// One --listen: the address, and the rights of its callers.
struct ListenAddress {
  std::string path;           // Unix socket, absolute; empty: TCP
  std::string host;           // an IP address in digits
  uint16_t port = 0;          // 0: the kernel chooses
  bool ipv6_only = false;     // "::" leaves IPv4 to another listener; else it has both
  bool readers_only = false;  // nobody may declare intents; false: AccessPolicy decides
  mode_t mode = 0660;         // permissions of a Unix socket
  std::string group;          // owner of a Unix socket; empty: the process's own group
  std::optional<gid_t> gid;   // id of `group`; set by a number or by ResolveGroup

  bool is_unix() const { return !path.empty(); }
  bool is_ipv6() const { return host.find(':') != std::string::npos; }
  bool is_loopback() const { return IsLoopback(host); }  // TCP only
  // The address for people and clients: unix:PATH, HOST:PORT or [HOST]:PORT.
  std::string ToString() const;
  // ToString plus the options that differ from the default, as --listen takes them.
  std::string ToFlag() const;
};

// Parses unix:PATH[,role=reader][,mode=MODE][,group=GROUP] or HOST:PORT[,role=reader]. A relative
// path is resolved against the working directory; localhost is 127.0.0.1. INVALID_ARGUMENT names
// the text and the rule. The caller decides whether an address beyond loopback is allowed.
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text);

// Looks up the group's name, which may ask a name service. The error names address and group; it
// may be temporary, for example until the network is up. Call it on the main thread, before others
// start.
absl::Status ResolveGroup(ListenAddress* address);

}  // namespace vmeventd
