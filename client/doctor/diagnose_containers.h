#pragma once

#include "client/doctor/examination.h"
#include "client/doctor/monitors.h"
#include "client/doctor/node_facts.h"

// Findings about QEMUs whose monitors are in another mount namespace, as in a container.

namespace vmeventd::client {

// Reports a monitor made for followers, in a directory that vmeventd cannot see.
void DiagnoseUnseen(Subject subject, const NodeProcess& qemu, const Monitor& monitor,
                    Examination* exam);

}  // namespace vmeventd::client
