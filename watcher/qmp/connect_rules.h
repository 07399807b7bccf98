#pragma once

#include <string>

#include "watcher/core/managers.h"
#include "watcher/core/vm_event.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_context.h"

// Which sockets a connect can harm nobody at. Programs that serve one client, such as virtiofsd and
// swtpm, end with it, and managers need monitors for themselves. Where another program than a QEMU
// may listen, a QEMU's command line must name the socket as a monitor. Loop thread, but for
// OwnerOfFile().

namespace vmeventd {

struct ConnectVerdict {
  enum class May {
    kYes,
    kManagersOwn,  // `manager` needs it
    kNoMonitor,    // no QEMU's command line that can be read names it
    kNotKnownYet,  // command lines are being read
  };
  May may = May::kYes;
  const Manager* manager = nullptr;  // with kManagersOwn
};

// Returns the manager that needs the monitor at `path`, whatever links lead there; null: none.
// Looks at the file system, which may hang: for a DirectoryThread.
const Manager* OwnerOfFile(const std::string& path);

// Judges the slot's socket. `owner` is OwnerOfFile()'s, and `named_as_monitor` whether its
// directory's spec takes only what is called as a monitor is. Begins to read command lines where
// those decide: ask again later then.
ConnectVerdict JudgeConnect(const RunContext& context, const Manager* owner, bool named_as_monitor,
                            SocketSlot* slot);

// Returns the problem of a socket of which JudgeConnect() has returned kNoMonitor.
Problem NoMonitorProblem(const RunContext& context, const SocketSlot& slot);

// Returns whether `peer`, who listens at the slot's socket, is a QEMU: by its name or, where it was
// given another one, by its command line, which is read for the next attempt.
bool IsQemuAt(const RunContext& context, const PeerProcess& peer, SocketSlot* slot);

// Returns whether the command line of who listens there has been read, and is a QEMU's.
bool SaysQemu(const SocketSlot& slot);

}  // namespace vmeventd
