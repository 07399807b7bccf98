#pragma once

#include <string>
#include <vector>

#include "client/doctor/diagnosis.h"
#include "client/doctor/examination.h"
#include "client/doctor/node_facts.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/managers.h"
#include "watcher/core/qemu_texts.h"

// The monitors of a QEMU, and what stands between vmeventd and one.

namespace vmeventd::client {

// A monitor of a QEMU.
struct Monitor {
  std::string path;                // where vmeventd finds it; else as QEMU has it
  bool is_seen = true;             // vmeventd finds it
  bool is_lost = false;            // its file is gone, or another socket's
  const Manager* owner = nullptr;  // who needs it
  const UnixSocket* listener = nullptr;
  bool held = false;                    // it has a client
  const NodeProcess* client = nullptr;  // null: none, or one that cannot be seen
};

// The monitors of a QEMU. `vm`: as vmeventd has the QEMU, whose monitor it may find at another path
// than QEMU was given: a relative one, or one in a container. Null: not at all.
std::vector<Monitor> MonitorsOf(const Examination& exam, const NodeProcess& qemu,
                                const QemuArguments& arguments, const Manager* manager,
                                const v1::Vm* vm);

// Returns whether vmeventd takes it.
bool IsWatched(const Examination& exam, const Monitor& monitor);

// The obstacle between vmeventd and the monitor, whose path is the subject; none without a kind.
// `vm`: vmeventd's own record of the QEMU, which has problems; null: it has none.
Finding ObstacleAt(const Examination& exam, const Monitor& monitor, const v1::Vm* vm);

}  // namespace vmeventd::client
