#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/rare.h"
#include "watcher/core/problem.h"
#include "watcher/core/run_info.h"
#include "watcher/runs/command_line_read.h"
#include "watcher/runs/named_monitors.h"
#include "watcher/runs/peer_process.h"

namespace vmeventd {

class QmpRun;
struct RunSockets;

// The watcher's state of one socket path, as long as the socket exists or a run that was found at
// it lives.
struct SocketSlot {
  std::string path;  // raw bytes
  int spec = -1;     // -1: known from a run of an earlier daemon only
  int runs = 0;      // number of live runs that were found here
  bool present = false;
  // Time until which a foreign listener is left alone: `socket` sent no greeting, and no VM is seen
  // behind it.
  absl::Duration silent_until;

  // The run that this path leads to: the newest one found here. An older run, whose socket was
  // replaced, may live on. SlotTable sets it; null: none.
  RunSockets* leads_to = nullptr;
  inline QmpRun* run() const;  // run_sockets.h

  TimerId retry;
  absl::Duration backoff;  // the last wait; zero: none yet
  // Number of the SocketAttempts attempt that is under way for it; 0: none.
  uint64_t attempt = 0;
  bool try_again = false;  // once that attempt has ended

  SocketIdentity socket;  // as seen last
  // The end of the run that was attached by `socket` was seen: nobody will listen on it again. A
  // QEMU leaves the file if it is killed, or if it runs as a user who may not remove it.
  bool end_seen = false;
  bool left_alone = false;  // the listener at `socket` has no VM, or a manager needs this monitor

  // A listener whose name is not a QEMU's, and its command line once that is read.
  struct ListeningProcess {
    ProcessKey process;  // by pid and start ticks
    std::shared_ptr<const CommandLineRead> command_line;
  };
  Rare<ListeningProcess> listener;

  // A read of all QEMUs' command lines, while it is not known whether one names the socket.
  std::shared_ptr<const NamedMonitors> monitors;

  Problem problem;  // as reported, while no run is seen behind the socket

  // Returns whether it has neither a socket nor a run: it is dropped, or about to be.
  bool unused() const { return !present && runs == 0; }
};

}  // namespace vmeventd
