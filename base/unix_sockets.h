#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// A Unix socket of this network namespace, as `ss -xp` sees it. Looking connects to nothing.
struct UnixSocket {
  uint32_t inode = 0;
  std::string path;  // raw bytes; an accepted one has its listener's; empty: not bound to a path
  bool listening = false;
  uint32_t pending = 0;  // a listening one's connections that nobody has accepted yet
  uint32_t peer = 0;     // a connected one's other end, by its inode
};

// Reads all of them by the kernel's sock_diag. UNAVAILABLE: the kernel does not answer, as without
// its module unix_diag; names the call.
absl::StatusOr<std::vector<UnixSocket>> ReadUnixSockets();

// Reads them from /proc/net/unix, which each kernel has: without `pending` and `peer`.
absl::StatusOr<std::vector<UnixSocket>> ReadUnixSocketsOfProc();

// Parses that file. What is no line of a socket is left out. Pure.
std::vector<UnixSocket> ParseProcNetUnix(absl::string_view text);

// Appends the sockets of one answer of the kernel, a row of netlink messages. True: it was the
// last. INVALID_ARGUMENT: it is no such answer. Pure.
absl::StatusOr<bool> ParseUnixSockets(absl::string_view answer, std::vector<UnixSocket>* sockets);

}  // namespace vmeventd
