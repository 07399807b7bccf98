#pragma once

#include "client/doctor/examination.h"
#include "client/doctor/node_facts.h"
#include "watcher/core/managers.h"

// Findings about connections to libvirt, and about its domains.

namespace vmeventd::client {

inline constexpr char kSystemLibvirt[] = "qemu:///system";
void DiagnoseLibvirts(Examination* exam);
// Reports a domain whose libvirt is not followed.
void FollowLibvirt(const Subject& subject, const NodeProcess& qemu, const Manager& manager,
                   Examination* exam);

}  // namespace vmeventd::client
