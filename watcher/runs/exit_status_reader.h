#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/event_loop.h"
#include "watcher/core/vm_event.h"
#include "watcher/runs/proc_connector.h"

namespace vmeventd {

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
