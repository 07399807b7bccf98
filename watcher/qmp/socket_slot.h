#ifndef VMEVENTD_WATCHER_QMP_SOCKET_SLOT_H_
#define VMEVENTD_WATCHER_QMP_SOCKET_SLOT_H_

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "base/rare_text.h"
#include "watcher/core/run_info.h"
#include "watcher/loop/event_loop.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/runs/command_lines.h"

namespace vmeventd {

class QmpRun;

// The watcher's state of one socket path: kept while the socket is there, and while a run that was
// found at it lives.
struct SocketSlot {
  std::string path;  // raw bytes
  int spec = -1;     // -1: known from a run of an earlier daemon only
  bool present = false;
  bool untried = false;  // found by the first scan, and not connected to yet

  // The run that this path is a way to: the newest of those found here. An older one, whose socket
  // was replaced, lives on without being it.
  QmpRun* run = nullptr;
  int runs = 0;  // that were found here and live

  TimerId retry;
  absl::Duration backoff;  // the last wait; zero: none yet

  // The socket's inode as seen last, and whether this slot is the one that follows it.
  InodeKey inode;
  bool claims_inode = false;
  bool awaits_inode = false;

  // Who listened, where its name is not a QEMU's: what its command line says, once that is read.
  ProcessId listener;
  std::shared_ptr<const CommandLines::Read> listener_command_line;

  RareText problem;  // while no run is seen behind the socket; as it was reported
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_QMP_SOCKET_SLOT_H_
