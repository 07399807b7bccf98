#pragma once

#include "tools/measure/measuring.h"

// What others that watch QEMUs cost, measured as vmeventd is. Each says so where the machine lacks
// what it takes: root, for a mount namespace, and the Debian package.

namespace vmeventd::bench {

// ganeti-kvmd on `vms` fake monitors, of which it can follow about a thousand (1,024 descriptors):
// from a closed socket to the shutdown file, processor time a VM and a stop, memory.
void MeasureKvmd(int vms, Record* record);

// `domains` real QEMUs under a libvirtd, which a vmeventd watches as well by monitors of their own.
// Each is killed (SIGKILL): from there to libvirt's lifecycle event, and to vmeventd's STOPPED, at
// a client of each. Processor time a stop and a domain, memory.
void MeasureLibvirt(int domains, Record* record);

}  // namespace vmeventd::bench
