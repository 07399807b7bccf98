#ifndef VMEVENTD_SERVER_TRANSPORT_LISTEN_ATTEMPTS_H_
#define VMEVENTD_SERVER_TRANSPORT_LISTEN_ATTEMPTS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/config/listen_address.h"
#include "server/transport/listen_socket.h"

namespace vmeventd {

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

#endif  // VMEVENTD_SERVER_TRANSPORT_LISTEN_ATTEMPTS_H_
