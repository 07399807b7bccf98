#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/time/time.h"
#include "base/compact.h"
#include "base/event_loop.h"
#include "watcher/core/run_info.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/runs/command_lines.h"

namespace vmeventd {

class QmpRun;

// The watcher's state of one socket path: kept while the socket is there, and while a run that was
// found at it lives.
struct SocketSlot {
  std::string path;  // raw bytes
  int spec = -1;     // -1: known from a run of an earlier daemon only
  int runs = 0;      // live ones that were found here
  bool present = false;
  bool untried = false;  // found by the first scan, and not connected to yet
  // This slot is the one that follows the socket's inode, or waits for it.
  bool claims_inode = false;
  bool awaits_inode = false;

  // The run that this path is a way to: the newest of those found here. An older one, whose socket
  // was replaced, lives on without being it.
  QmpRun* run = nullptr;

  TimerId retry;
  absl::Duration backoff;  // the last wait; zero: none yet

  InodeKey inode;  // the socket's, as seen last

  // A listener whose name is not a QEMU's, and its command line once that is read.
  struct ListeningProcess {
    ProcessId process;
    std::shared_ptr<const CommandLines::Read> command_line;
  };
  Rare<ListeningProcess> listener;

  // The socket here that sent no greeting, while no VM is seen behind it.
  Rare<SocketIdentity> silent;
  // A read of all QEMUs' command lines, while it is not known whether one names the socket.
  std::shared_ptr<const CommandLines::Monitors> monitors;

  std::string problem;  // as reported, while no run is seen behind the socket
};

// The sockets of a run, as its SocketConnector notes them.
struct RunSockets {
  SocketSlot* home = nullptr;  // the slot of its first sight, which names it
  // Slots whose `run` it is, and the one of them that it was attached by last, if that is left.
  absl::InlinedVector<SocketSlot*, 1> ways;
  SocketSlot* attached_by = nullptr;
  // Key of the socket that it was attached by last, by which it is found again.
  std::optional<InodeKey> attached_inode;
  uint32_t owner = 0;  // the user whose socket it was found at
};

// Retry intervals of a SocketConnector.

inline constexpr absl::Duration kFirstRetry = absl::Milliseconds(1);
inline constexpr absl::Duration kMaxRetry = absl::Seconds(5);
// Longest retry interval of a socket that refuses: the file that a killed QEMU left does for ever.
inline constexpr absl::Duration kMaxRefusedRetry = absl::Seconds(60);
// First retry after the end of a monitor that worked, whose process is mostly about to go.
inline constexpr absl::Duration kFirstReconnect = absl::Milliseconds(100);
inline constexpr absl::Duration kFirstHeldRetry = absl::Seconds(1);
// Shortest time for which a monitor must have answered to get a quick reconnect.
inline constexpr absl::Duration kSteadyMonitor = absl::Seconds(10);

// Sees to it that a socket with several paths (two --watch of one directory under different names,
// hard links) is followed once: the first path claims its inode, the others wait. Loop thread.
class InodeClaims {
 public:
  // Claims `inode` for `slot`, which gives up what it claimed before; if another slot has it,
  // `slot` waits for it. Returns the slots that may claim what was given up.
  std::vector<SocketSlot*> Claim(const InodeKey& inode, SocketSlot* slot) {
    if (slot->claims_inode && slot->inode == inode) return {};
    std::vector<SocketSlot*> freed = Release(slot);
    slot->inode = inode;
    slot->claims_inode = owners_.insert(slot).second;
    if (!slot->claims_inode) {
      slot->awaits_inode = true;
      waiting_[inode].push_back(slot);
    }
    return freed;
  }

  // Gives up what `slot` claims or waits for. Returns the slots that may claim it now.
  std::vector<SocketSlot*> Release(SocketSlot* slot) {
    std::vector<SocketSlot*> freed;
    const auto waiting = waiting_.find(slot->inode);
    if (slot->claims_inode) {
      owners_.erase(slot->inode);
      if (waiting != waiting_.end()) {
        freed = std::move(waiting->second);
        for (SocketSlot* other : freed) other->awaits_inode = false;
        waiting_.erase(waiting);
      }
    } else if (slot->awaits_inode) {
      std::erase(waiting->second, slot);
      if (waiting->second.empty()) waiting_.erase(waiting);
    }
    slot->claims_inode = slot->awaits_inode = false;
    return freed;
  }

 private:
  struct Inode {
    static const InodeKey& Of(const InodeKey& inode) { return inode; }
    static const InodeKey& Of(const SocketSlot* slot) { return slot->inode; }
  };
  KeyedSet<SocketSlot*, Inode> owners_;
  absl::flat_hash_map<InodeKey, std::vector<SocketSlot*>> waiting_;
};

}  // namespace vmeventd
