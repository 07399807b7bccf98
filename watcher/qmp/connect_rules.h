#pragma once

#include "watcher/core/managers.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/run_context.h"

// Decides to which sockets vmeventd may connect without harm. Programs that serve one client, such
// as virtiofsd and swtpm, end when that client disconnects, and managers need their monitors for
// themselves. If a program other than QEMU may listen, a QEMU's command line must name the socket
// as a monitor. Loop thread.

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

// Judges the slot's socket. `owner` is the result of OwnerOfFile() (socket_file.h).
// `named_as_monitor`: the spec of its directory takes only files that are named as monitors. Begins
// to read command lines if they decide; then the verdict is kNotKnownYet: ask again later.
ConnectVerdict JudgeConnect(const RunContext& context, const Manager* owner, bool named_as_monitor,
                            SocketSlot* slot);

// Returns whether `peer`, which listens at the slot's socket, is a QEMU: by its name or, if it has
// another name, by its command line. Begins to read that, for the next attempt.
// `has_name_of_qemu` is the result of HasNameOfQemu() (process.h).
bool IsQemuAt(const RunContext& context, const PeerProcess& peer, bool has_name_of_qemu,
              SocketSlot* slot);

// Returns whether, as far as is known, a program other than QEMU listens at the slot's socket: it
// sent no greeting in a recent attempt.
bool IsForeign(const RunContext& context, const SocketSlot& slot);

// Returns whether the command line of the slot's listener was read, and is a QEMU's.
bool HasQemuCommandLine(const SocketSlot& slot);

}  // namespace vmeventd
