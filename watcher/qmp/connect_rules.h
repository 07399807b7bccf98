#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "watcher/core/managers.h"
#include "watcher/core/problem.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/run_context.h"

// Decides to which sockets vmeventd may connect without harm. Programs that serve one client, such
// as virtiofsd and swtpm, end when that client disconnects, and managers need their monitors for
// themselves. If a program other than QEMU may listen, a QEMU's command line must name the socket
// as a monitor. Loop thread, except OwnerOfFile().

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

// Returns the manager that needs the monitor at `path`, after following links; null: none. Reads
// the file system, which may hang: call it on a DirectoryThread.
const Manager* OwnerOfFile(const std::string& path);

// Judges the slot's socket. `owner` is the result of OwnerOfFile(). `named_as_monitor`: the spec of
// its directory takes only files that are named as monitors. Begins to read command lines if they
// decide; then the verdict is kNotKnownYet: ask again later.
ConnectVerdict JudgeConnect(const RunContext& context, const Manager* owner, bool named_as_monitor,
                            SocketSlot* slot);

// Returns the problem of a monitor that `manager` needs.
Problem ManagersOwnProblem(const Manager& manager);

// Returns the problem of a socket for which JudgeConnect() returned kNoMonitor.
Problem NoMonitorProblem(const RunContext& context, const SocketSlot& slot);

// Returns the problem of a connect that failed. `why` is for people.
Problem CannotConnect(ProblemCode code, absl::string_view why);

// Returns whether `peer`, which listens at the slot's socket, is a QEMU: by its name or, if it has
// another name, by its command line. Begins to read that, for the next attempt.
bool IsQemuAt(const RunContext& context, const PeerProcess& peer, SocketSlot* slot);

// Returns whether the command line of the slot's listener was read, and is a QEMU's.
bool HasQemuCommandLine(const SocketSlot& slot);

}  // namespace vmeventd
