#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/detached_threads.h"
#include "base/event_loop.h"
#include "base/pending_call.h"
#include "base/unique_fd.h"
#include "server/config/listen_address.h"
#include "server/transport/listen_socket.h"

namespace vmeventd {

// Accepts the connections of one address in a loop. Retries to open its socket until that succeeds:
// an obstacle, such as a port that another process uses, may go away while the daemon follows its
// VMs. Logs the first failure, each new reason, and the success after a failure; but not
// ALREADY_EXISTS at the first attempt, after which the daemon does not start. Listens again at a
// Unix socket's path that was removed or replaced. The file system of a Unix socket may hang: it is
// looked at on a thread, of which there is one at a time. Pauses while the process is out of
// descriptors, because epoll would report the waiting connection all the time. Loop thread.
class AcceptingSocket : private FdHandler {
 public:
  static constexpr absl::Duration kFirstRetry = absl::Seconds(1);
  static constexpr absl::Duration kMaxRetry = absl::Seconds(10);
  static constexpr absl::Duration kDescriptorPause = absl::Milliseconds(100);
  static constexpr absl::Duration kPathCheck = absl::Seconds(3);
  // Longest wait for the file system of a Unix socket, in Listen() and then in the loop.
  static constexpr absl::Duration kStartPatience = absl::Seconds(5);
  static constexpr absl::Duration kPatience = absl::Milliseconds(10);

  struct Calls {
    std::function<void(UniqueFd)> accepted = {};        // gets a connection, non-blocking
    std::function<void()> out_of_descriptors = {};      // before each pause
    std::function<void()> listening = [] {};            // listening() and address() have changed
    std::function<bool()> full = [] { return false; };  // true: it pauses before it accepts
  };

  // `what` names the listener in the log: "gRPC", "the metrics". `loop` outlives it, and waits at
  // most `patience` for the file system at a time.
  AcceptingSocket(std::string what, ListenAddress address, EventLoop* loop, Calls calls,
                  absl::Duration patience = kPatience);
  ~AcceptingSocket() override;
  AcceptingSocket(const AcceptingSocket&) = delete;
  AcceptingSocket& operator=(const AcceptingSocket&) = delete;

  // Opens the socket now, or later. The error is the one of this attempt; ALREADY_EXISTS: another
  // process listens on the Unix socket. Call it once.
  absl::Status Listen();

  bool listening() const { return socket_ != nullptr; }
  // The address, with the port that the kernel chose if it listens.
  const ListenAddress& address() const { return listening() ? socket_->address() : address_; }

 private:
  using Opened = absl::StatusOr<std::unique_ptr<ListenSocket>>;

  void OnFdReady(uint32_t events) override;
  absl::Status ListenWithin(absl::Duration patience);
  // Opens the socket; DEADLINE_EXCEEDED: its file system has not answered yet.
  Opened Open(absl::Duration patience);
  void CheckPath();

  const std::string what_;
  const ListenAddress address_;
  EventLoop* const loop_;
  const Calls calls_;
  const absl::Duration patience_;
  std::unique_ptr<ListenSocket> socket_;  // null: it does not listen
  bool lost_path_ = false;                // it has listened, and its path was removed or replaced
  absl::Status failure_;                  // failure of the last attempt
  absl::Duration backoff_;
  DetachedThreads threads_;
  PendingCall<Opened> opening_;
  PendingCall<bool> looking_;  // whether the path still leads to the socket
  bool hang_logged_ = false;
  TimerId timer_;       // the next attempt, or the end of a pause
  TimerId path_timer_;  // the next CheckPath
};

}  // namespace vmeventd
