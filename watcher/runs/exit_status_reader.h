#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/counter.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "vmeventd/contract/enums.h"
#include "watcher/core/process_end.h"

namespace vmeventd {

// The process connector's socket of a daemon that has stopped.
struct HandedExits {
  UniqueFd socket;  // has received messages since
  // The processes that it followed, by pid, with the status of those whose end it had read.
  absl::flat_hash_map<int64_t, std::optional<int>> wait_statuses;
};

// Finds out how processes that are not children of this one have ended. Loop thread.
//
// A zombie is gone: its memory is released, its files and so its disks are closed, and it is
// not known when its parent will reap it, if ever. Its run ends at once. The kernel shows the
// status of a zombie and of a reaped process in different places, and the parent decides which of
// them is there when one looks: so both are asked.
//   zombie   field 52 of its stat file, for a reader with ptrace access (the same user, or root)
//   reaped   the source
// Waiting helps in two cases only: a zombie that may not be read, and a message of the connector
// that is on its way.
//
// The process connector (Linux, Documentation/driver-api/connector.rst) reports the end of every
// process; only those of followed processes are stored. The kernel drops messages that are not read
// fast enough.
class ExitStatusReader : public FdHandler {
 public:
  // Finds the source that this kernel and this process's rights allow: pidfd, else the connector,
  // else none. With `only`, that source or none. The connector resumes `handed` if that has a
  // socket; until ForgetHanded(), Follow() then also takes over the status that the previous daemon
  // read. May block for 100 ms. `loop` outlives the reader.
  static std::unique_ptr<ExitStatusReader> Create(EventLoop* loop,
                                                  std::optional<ExitStatusSource> only,
                                                  HandedExits handed = {});
  ~ExitStatusReader() override;

  ExitStatusSource source() const { return source_; }
  // Number of times that messages were dropped. Any thread.
  uint64_t overflows() const { return overflows_.value(); }
  // Socket for HandedExits; -1: the source needs none.
  int socket() const { return connector_.get(); }

  // Prepares for Ask() about `pid`, which lives. Call it once for each Unfollow.
  void Follow(int64_t pid);
  void Unfollow(int64_t pid);
  // Drops the handed-over processes that nobody follows.
  void ForgetHanded();

  struct Answer {
    std::optional<ExitStatus> status;
    bool final = true;      // false: a later call may find more
    bool unreaped = false;  // it finds more once the parent has reaped the process
  };
  // Asks for the status of the process that `pidfd`, which is readable, stands for. `start_ticks`
  // as in PeerProcess. Never blocks.
  Answer Ask(int pidfd, int64_t pid, uint64_t start_ticks);
  // The connector's status of `pid` as wait(2) would report it; unset: not known, yet or ever.
  std::optional<int> WaitStatusOf(int64_t pid);
  // Like WaitStatusOf(), but reads no message that waits.
  std::optional<int> WaitStatusRead(int64_t pid) const;

  void OnFdReady(uint32_t events) override;
  // Handles one message from the socket. Public for tests.
  void OnMessage(absl::string_view message);

 private:
  struct Followed {
    int users = 0;
    bool handed = false;  // followed by the previous daemon, until ForgetHanded()
    std::optional<int> wait_status;
  };

  explicit ExitStatusReader(EventLoop* loop) : loop_(loop) {}
  absl::Status Connect(HandedExits handed);
  // Handles what waits in the socket, at most `max_messages`.
  void Read(size_t max_messages);

  EventLoop* const loop_;
  ExitStatusSource source_ = ExitStatusSource::kNone;
  UniqueFd connector_;                               // only with kProcConnector
  absl::flat_hash_map<int64_t, Followed> followed_;  // keyed by pid
  Counter overflows_;
};

}  // namespace vmeventd
