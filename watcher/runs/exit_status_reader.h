#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/counter.h"
#include "base/event_loop.h"
#include "base/system.h"
#include "watcher/core/vm_event.h"

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

// Source of the end of a process that is no child of this one, once its parent has reaped it.
enum class ExitStatusSource {
  kNone,
  kPidfd,          // PIDFD_GET_INFO with PIDFD_INFO_EXIT: Linux 6.15, no privilege
  kProcConnector,  // netlink messages: CAP_NET_ADMIN in the host's own namespaces
};

// Finds out how processes have ended that are no children of this one. Loop thread.
//
// A zombie is gone: its memory is released, its files and so its disks are closed, and nobody can
// say when its parent will reap it, if ever. Its run ends at once. The kernel shows the status of a
// zombie and of a reaped process in different places, and the parent decides which of them is there
// when one looks: so both are asked.
//   zombie   field 52 of its stat file, for a reader with ptrace access (the same user, or root)
//   reaped   the source
// Only for a zombie that may not be read, and for the message of a connector that is on its way,
// there is something to wait for.
class ExitStatusReader {
 public:
  // Finds the source that this kernel and this process's rights allow: pidfd, else the connector,
  // else none. With `only` that one or none. The connector resumes `handed`, if that has a socket.
  // May take 100 ms. `loop` outlives the reader.
  static std::unique_ptr<ExitStatusReader> Create(EventLoop* loop,
                                                  std::optional<ExitStatusSource> only,
                                                  HandedExits handed = {});

  ExitStatusSource source() const { return source_; }
  // Any thread.
  uint64_t overflows() const { return connector_ == nullptr ? 0 : connector_->overflows(); }

  // Prepares for Ask() about `pid`, which lives. Call it once for each Unfollow.
  void Follow(int64_t pid) {
    if (connector_ != nullptr) connector_->Follow(pid);
  }
  void Unfollow(int64_t pid) {
    if (connector_ != nullptr) connector_->Unfollow(pid);
  }

  // As ProcConnector has them.
  void ForgetHanded() {
    if (connector_ != nullptr) connector_->ForgetHanded();
  }
  std::optional<int> WaitStatusRead(int64_t pid) const {
    return connector_ == nullptr ? std::nullopt : connector_->WaitStatusRead(pid);
  }
  // Socket for HandedExits; -1: the source needs none.
  int socket() const { return connector_ == nullptr ? -1 : connector_->socket(); }

  struct Answer {
    std::optional<ExitStatus> status;
    bool final = true;  // false: a later call may find more
  };
  // Asks for the status of the process that `pidfd`, which is readable, stands for. `start_ticks`
  // as in PeerProcess. Never blocks.
  Answer Ask(int pidfd, int64_t pid, uint64_t start_ticks);

 private:
  ExitStatusReader(ExitStatusSource source, std::unique_ptr<ProcConnector> connector)
      : source_(source), connector_(std::move(connector)) {}

  const ExitStatusSource source_;
  const std::unique_ptr<ProcConnector> connector_;  // null with another source
};

// "pidfd", "proc-connector", "none".
std::string ExitStatusSourceName(ExitStatusSource source);

}  // namespace vmeventd
