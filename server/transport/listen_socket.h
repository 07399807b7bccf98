#ifndef VMEVENTD_SERVER_TRANSPORT_LISTEN_SOCKET_H_
#define VMEVENTD_SERVER_TRANSPORT_LISTEN_SOCKET_H_

#include <sys/socket.h>

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "server/config/listen_address.h"
#include "server/host/lock_file.h"

// The daemon binds and accepts itself: gRPC would replace another process's socket without a word,
// says nothing of why a bind failed, and takes as many connections as come.

namespace vmeventd {

// A socket that listens, non-blocking. Holds the lock beside a Unix socket's path, and removes the
// path when it is destroyed.
class ListenSocket {
 public:
  // Makes a Unix socket's directory (0750) where it is missing, and removes a stale socket. The
  // path is not for a moment open to more than the mode says. An address that this host does not
  // have, or not yet, is no error: connections come once it is there. ALREADY_EXISTS: a process
  // listens on the Unix socket. FAILED_PRECONDITION: something else is in the way: a process on the
  // port, a file that is no socket, a directory in which others could replace the socket.
  static absl::StatusOr<std::unique_ptr<ListenSocket>> Open(const ListenAddress& address);
  ~ListenSocket();
  ListenSocket(const ListenSocket&) = delete;
  ListenSocket& operator=(const ListenSocket&) = delete;

  int fd() const { return fd_.get(); }
  // With the port that the kernel chose.
  const ListenAddress& address() const { return address_; }

 private:
  explicit ListenSocket(ListenAddress address) : address_(std::move(address)) {}
  absl::Status OpenUnix();
  void WarnOfClosedDirectories() const;
  absl::Status OpenTcp();
  // bind(2), also to an address that this host does not have now.
  int Bind(const sockaddr* name, socklen_t size) const;

  ListenAddress address_;
  std::unique_ptr<LockFile> lock_;
  UniqueFd fd_;
  bool bound_ = false;  // the Unix socket's path is there
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_TRANSPORT_LISTEN_SOCKET_H_
