#pragma once

#include "tools/measure/record.h"

// Measures the cost of other programs that watch QEMUs, in the same way as vmeventd's. Each
// function reports if the machine lacks a requirement: root, for a mount namespace, or the Debian
// package.

namespace vmeventd::bench {

// Measures ganeti-kvmd on `vms` fake monitors; it can follow about a thousand (1,024 descriptors):
// the time from a closed socket to the shutdown file, processor time per VM and per stop, memory.
void MeasureKvmd(int vms, Record* record);

// Measures a libvirtd with `domains` real QEMUs, which a vmeventd also watches by separate
// monitors. Each QEMU is killed (SIGKILL): the time until a client gets libvirt's lifecycle event,
// and until a client gets vmeventd's STOPPED. Processor time per stop and per domain, memory.
void MeasureLibvirt(int domains, Record* record);

}  // namespace vmeventd::bench
