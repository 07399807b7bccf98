#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "server/config/listen_address.h"

// The sockets on which the daemon binds and accepts itself. gRPC would silently replace another
// process's socket, does not report why a bind failed, and accepts any number of connections.

namespace vmeventd {

// Returns whether clients reach the Unix socket of `file` at the path, which may be removed,
// replaced, or hidden by a mount. Blocks while its file system does.
bool LeadsTo(const std::string& path, const std::optional<std::pair<dev_t, ino_t>>& file);

// A socket that listens, non-blocking. Holds the lock next to a Unix socket's path, and removes the
// path when it is destroyed, unless something else has taken its place.
class ListenSocket {
 public:
  // Creates a Unix socket's directory (0750) if it is missing, and removes a stale socket. The path
  // is never accessible to more users than the mode permits. ALREADY_EXISTS: a process listens on
  // the Unix socket. FAILED_PRECONDITION: another obstacle: a process on the port, a file that is
  // no socket, or a directory in which others could replace the socket.
  static absl::StatusOr<std::unique_ptr<ListenSocket>> Open(const ListenAddress& address);
  ~ListenSocket();
  ListenSocket(const ListenSocket&) = delete;
  ListenSocket& operator=(const ListenSocket&) = delete;

  int fd() const { return fd_.get(); }
  // The address, with the port that the kernel chose.
  const ListenAddress& address() const { return address_; }
  // Returns whether clients reach this socket by its address: a Unix socket's path may be removed,
  // replaced, or hidden by a mount. Always true over TCP.
  bool Reachable() const;
  // The file at a Unix socket's path, as it was bound; unset over TCP.
  std::optional<std::pair<dev_t, ino_t>> file() const { return file_; }

 private:
  explicit ListenSocket(ListenAddress address) : address_(std::move(address)) {}
  absl::Status OpenUnix();
  absl::Status OpenTcp();

  ListenAddress address_;
  UniqueFd lock_;  // on the file next to a Unix socket
  UniqueFd fd_;
  // Unset: no path is bound.
  std::optional<std::pair<dev_t, ino_t>> file_;
};

}  // namespace vmeventd
