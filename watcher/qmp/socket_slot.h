#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/time/time.h"
#include "base/compact.h"
#include "base/event_loop.h"
#include "watcher/core/run_info.h"
#include "watcher/core/vm_event.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"

namespace vmeventd {

class QmpRun;

// The watcher's state of one socket path, while the socket is there, and while a run that was found
// at it lives.
struct SocketSlot {
  std::string path;  // raw bytes
  int spec = -1;     // -1: known from a run of an earlier daemon only
  int runs = 0;      // live ones that were found here
  bool present = false;
  // `socket` sent no greeting, and no VM is seen behind it: until then a foreign listener is left
  // alone.
  absl::Duration silent_until;

  // The run that this path is a way to: the newest of those found here. An older one, whose socket
  // was replaced, lives on without being it.
  QmpRun* run = nullptr;

  TimerId retry;
  absl::Duration backoff;  // the last wait; zero: none yet
  // SocketAttempts: names what its directory's thread does for it; 0: nothing.
  uint64_t attempt = 0;
  bool try_again = false;  // once that has ended

  SocketIdentity socket;  // as seen last
  // The end of the run that was attached by `socket` was seen: nobody listens on it again, and its
  // file is what a QEMU leaves that is killed, or that may not remove it as another user.
  bool end_seen = false;
  bool runs_no_vm = false;  // who listens at `socket`: it is left alone

  // A listener whose name is not a QEMU's, and its command line once that is read.
  struct ListeningProcess {
    ProcessKey process;  // by its number
    std::shared_ptr<const CommandLines::Read> command_line;
  };
  Rare<ListeningProcess> listener;

  // A read of all QEMUs' command lines, while it is not known whether one names the socket.
  std::shared_ptr<const CommandLines::Monitors> monitors;

  Problem problem;  // as reported, while no run is seen behind the socket
};

// The sockets of a run, as its source has them.
struct RunSockets {
  SocketSlot* home = nullptr;  // the slot of its first sight, which names it
  // Slots whose `run` it is, and the one of them that it was attached by last, if that is left.
  absl::InlinedVector<SocketSlot*, 1> ways;
  SocketSlot* attached_by = nullptr;
  // Key of the socket that it was attached by last, by which it is found again.
  std::optional<InodeKey> attached_inode;
  uint32_t owner = 0;  // the user whose socket that is
  // Who listened there can be seen, or could until its end: so can who speaks.
  bool listener_seen = false;

  // Returns whether a socket that is there leads to the run.
  bool LeadBack() const {
    return std::any_of(ways.begin(), ways.end(),
                       [](const SocketSlot* way) { return way->present; });
  }
};

}  // namespace vmeventd
