#pragma once

#include "client/doctor/advice.h"
#include "client/doctor/examination.h"
#include "client/doctor/node_facts.h"
#include "watcher/core/managers.h"

// Findings about one QEMU. Only its first obstacle is reported, because it causes the others.

namespace vmeventd::client {

void DiagnoseQemu(const NodeProcess& process, Examination* exam);
// The directory in which the QEMU's user makes the sockets that vmeventd follows.
OwnPlace PlaceFor(const NodeProcess& qemu, const Manager* manager, const Examination& exam);

}  // namespace vmeventd::client
