#pragma once

#include "client/doctor/examination.h"
#include "client/doctor/monitors.h"
#include "client/doctor/node_facts.h"

// What namespaces hide, and what a cgroup freezes.

namespace vmeventd::client {

// Reports a monitor made for followers, in a directory that vmeventd cannot see.
void DiagnoseUnseen(Subject subject, const NodeProcess& qemu, const Monitor& monitor,
                    Examination* exam);

}  // namespace vmeventd::client
