#pragma once

#include <string>
#include <vector>

#include "client/doctor/examination.h"
#include "client/doctor/node_facts.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/managers.h"
#include "watcher/core/qemu_arguments.h"

// The monitors of a QEMU, as vmeventd can reach them.

namespace vmeventd::client {

// A monitor of a QEMU.
struct Monitor {
  std::string path;      // path at which vmeventd finds it; otherwise the one that QEMU was given
  bool is_seen = true;   // vmeventd can find it
  bool is_lost = false;  // its file is gone, or belongs to another socket
  bool is_abstract = false;        // it has no file
  const Manager* owner = nullptr;  // the manager that needs it; null: none
  const UnixSocket* listener = nullptr;
  bool held = false;                    // it has a client
  const NodeProcess* client = nullptr;  // null: no client, or one that cannot be seen
};

// Returns the monitors of a QEMU. `vm` is vmeventd's record of the QEMU; null: it has none. Its
// path of the monitor may differ from the one that QEMU was given: relative, or in a container.
std::vector<Monitor> MonitorsOf(const Examination& exam, const NodeProcess& qemu,
                                const QemuArguments& arguments, const Manager* manager,
                                const v1::Vm* vm);

// Returns whether vmeventd connects to the monitor: a --watch matches its path.
bool IsWatched(const Examination& exam, const Monitor& monitor);

}  // namespace vmeventd::client
