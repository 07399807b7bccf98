#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// The file of a bound socket: its device, as stat(2) has it, and the low 32 bits of its inode.
// Zeros: not known. A file system with several devices, such as Btrfs, may have another one here
// than in stat(2).
struct UnixSocketFile {
  uint64_t device = 0;
  uint32_t inode = 0;
  auto operator<=>(const UnixSocketFile&) const = default;
};

// A Unix socket of this network namespace, as `ss -xp` sees it. Looking connects to nothing.
struct UnixSocket {
  uint32_t inode = 0;
  // The text that it was bound to, raw bytes, which may be relative, or a path in another mount
  // namespace; an accepted one has its listener's; empty: not bound to a path.
  std::string path;
  bool listening = false;
  uint32_t pending = 0;  // a listening one's connections that nobody has accepted yet
  uint32_t peer = 0;     // a connected one's other end, by its inode
  UnixSocketFile file;   // an accepted one has its listener's
};

// Reads all of them by the kernel's sock_diag. UNAVAILABLE: the kernel does not answer, as without
// its module unix_diag; names the call.
absl::StatusOr<std::vector<UnixSocket>> ReadUnixSockets();

// Reads them from /proc/net/unix, which each kernel has: without `pending` and `peer`.
absl::StatusOr<std::vector<UnixSocket>> ReadUnixSocketsOfProc();

// Parses that file, and skips lines that are not of a socket. Pure.
std::vector<UnixSocket> ParseProcNetUnix(absl::string_view text);

// Appends the sockets of one answer of the kernel, a row of netlink messages. True: it was the
// last. INVALID_ARGUMENT: it is no such answer. Pure.
absl::StatusOr<bool> ParseUnixSockets(absl::string_view answer, std::vector<UnixSocket>* sockets);

}  // namespace vmeventd
