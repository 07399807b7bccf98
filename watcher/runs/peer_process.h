#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace vmeventd {

// Process at the other end of a connected Unix socket: the process that called listen().
struct PeerProcess {
  enum class Kind {
    kTracked,    // `pidfd` becomes readable when the process ends
    kUntracked,  // the kernel gives no pidfd for it
    kGone,       // it has ended already; a zombie counts as ended
  };
  Kind kind = Kind::kUntracked;
  int64_t pid = 0;           // 0 if untracked, or of a foreign PID namespace
  uint64_t start_ticks = 0;  // field 22 of its stat file; 0 if that cannot be read
  UniqueFd pidfd;            // valid if tracked
};

// Names one process for as long as the kernel runs.
struct ProcessKey {
  uint64_t pidfd_inode = 0;  // unique in pidfs (Linux 6.9); then the other members are 0
  int64_t pid = 0;
  uint64_t start_ticks = 0;

  bool operator==(const ProcessKey&) const = default;
  template <typename H>
  friend H AbslHashValue(H hash, const ProcessKey& key) {
    return H::combine(std::move(hash), key.pidfd_inode, key.pid, key.start_ticks);
  }
};

// The key of a tracked process. Unset where two processes could not be distinguished: one of a
// foreign PID namespace before Linux 6.9.
std::optional<ProcessKey> KeyOf(const PeerProcess& process);

// Identifies the peer of `socket`. RESOURCE_EXHAUSTED: no descriptor left. Other errors name the
// call that failed. Never blocks.
absl::StatusOr<PeerProcess> IdentifyPeer(int socket);

// Identifies the process `pid` without SO_PEERPIDFD, as on kernels before 6.5: another process may
// have taken the number at any time.
absl::StatusOr<PeerProcess> IdentifyByPid(int64_t pid);

// Identifies a process that was seen earlier, under this boot and in this PID namespace, as `pid`
// with `start_ticks` (0: not known). kGone: another process has that pid by now. Errors are as for
// IdentifyPeer().
absl::StatusOr<PeerProcess> IdentifyAgain(int64_t pid, uint64_t start_ticks);

// Returns whether `pidfd`, which another process opened, is that of `process`, which lived at that
// time, under this boot and in this PID namespace. Never blocks.
bool IsPidfdOf(int pidfd, const ProcessKey& process);

// Returns whether the process of `pidfd` has ended; a zombie has.
bool HasEnded(int pidfd);

}  // namespace vmeventd
