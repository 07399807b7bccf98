#pragma once

#include <sys/socket.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/system.h"
#include "server/config/listen_address.h"

// The daemon binds and accepts itself: gRPC would replace another process's socket without a word,
// does not report why a bind failed, and takes as many connections as come.

namespace vmeventd {

// A socket that listens, non-blocking. Holds the lock beside a Unix socket's path, and removes the
// path when it is destroyed.
class ListenSocket {
 public:
  // Makes a Unix socket's directory (0750) where it is missing, and removes a stale socket. The
  // path is never open to more than the mode permits. An address that this host does not
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
  UniqueFd lock_;  // of the file beside a Unix socket
  UniqueFd fd_;
  bool bound_ = false;  // the Unix socket's path is there
};

// Opens one listening socket, again and again until it succeeds: what is in the way, such as a port
// that another process has, may go away while the daemon follows its VMs. Logs the first failure,
// each new reason, and the success after one. One thread at a time.
class ListenAttempts {
 public:
  static constexpr absl::Duration kFirstRetry = absl::Seconds(1);
  static constexpr absl::Duration kMaxRetry = absl::Seconds(10);

  // `what` names the listener in the log: "gRPC", "the metrics".
  ListenAttempts(std::string what, ListenAddress address);

  // Opens the socket, if it is not open and an attempt is due at `now`. OK: it listens; else the
  // reason of the last attempt, ALREADY_EXISTS where another process listens on a Unix socket.
  const absl::Status& Try(absl::Duration now);
  // When the next attempt is due, on the clock of Try's `now`. Infinite: it listens.
  absl::Duration due() const { return due_; }

  // The open socket; null: it does not listen.
  const ListenSocket* socket() const { return socket_.get(); }
  // With the port that the kernel chose, if it listens.
  const ListenAddress& address() const {
    return socket_ == nullptr ? address_ : socket_->address();
  }

 private:
  const std::string what_;
  const ListenAddress address_;
  std::unique_ptr<ListenSocket> socket_;
  absl::Status status_ = absl::UnavailableError("not tried");
  bool failed_ = false;
  absl::Duration backoff_;
  absl::Duration due_ = -absl::InfiniteDuration();
};

}  // namespace vmeventd
