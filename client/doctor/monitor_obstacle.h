#pragma once

#include "client/doctor/examination.h"
#include "client/doctor/finding.h"
#include "client/doctor/monitors.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Returns the obstacle between vmeventd and the monitor, whose path is the subject. An empty kind:
// there is no obstacle. `vm`: vmeventd's own record of the QEMU, with its problems; null: it has
// none.
Finding ObstacleAt(const Examination& exam, const Monitor& monitor, const v1::Vm* vm);

}  // namespace vmeventd::client
