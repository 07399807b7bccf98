#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/counter.h"
#include "base/event_loop.h"
#include "base/system.h"

namespace vmeventd {

// Subscription of a daemon that has stopped.
struct HandedExits {
  UniqueFd socket;  // has received messages since
  // By pid, the processes that it followed, with the status of those whose end it had read.
  absl::flat_hash_map<int64_t, std::optional<int>> wait_statuses;
};

// Reads the reports of ended processes from the kernel's process connector (Linux,
// Documentation/driver-api/connector.rst). Keeps those of the followed processes alone, so that it
// needs no more room than they do. The kernel drops messages that are not read fast enough. Loop
// thread.
class ProcConnector : public FdHandler {
 public:
  // Subscribes. An error if the kernel does not answer at once: it has no connector, CAP_NET_ADMIN
  // is missing, or this is not the host's network or PID namespace. `loop` outlives it.
  static absl::StatusOr<std::unique_ptr<ProcConnector>> Create(EventLoop* loop);
  // Resumes such a subscription. Follow() takes a process over with its status, until
  // ForgetHanded(). INVALID_ARGUMENT: the descriptor is no such socket.
  static absl::StatusOr<std::unique_ptr<ProcConnector>> Resume(EventLoop* loop, HandedExits handed);
  ~ProcConnector() override;

  // Begins to listen for the end of `pid`, which lives now. Call it once for each Unfollow.
  void Follow(int64_t pid);
  void Unfollow(int64_t pid);
  // Drops the processes of the daemon before this one that nobody follows.
  void ForgetHanded();
  // Status of `pid` as wait(2) would report it; unset: not known, yet or ever.
  std::optional<int> WaitStatusOf(int64_t pid);
  // The same, of the messages that were read before: takes none of those that wait.
  std::optional<int> WaitStatusRead(int64_t pid) const;

  int socket() const { return socket_.get(); }

  // Number of times that messages were dropped.
  uint64_t overflows() const { return overflows_.value(); }

  void OnFdReady(uint32_t events) override;

  // Handles one message from the socket. Public for tests.
  void OnMessage(absl::string_view message);

 private:
  struct Followed {
    int users = 0;
    bool handed = false;  // followed by the daemon before this one, until ForgetHanded()
    std::optional<int> wait_status;
  };

  ProcConnector(EventLoop* loop, UniqueFd socket) : loop_(loop), socket_(std::move(socket)) {}
  // Takes what waits in the socket, at most `max_messages`.
  void Read(size_t max_messages);

  EventLoop* const loop_;
  const UniqueFd socket_;
  absl::flat_hash_map<int64_t, Followed> followed_;  // keyed by pid
  Counter overflows_;
};

}  // namespace vmeventd
