#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace vmeventd::simulation {

// The parts of a simulation. The seed determines all of them; to find a shorter story for the same
// seed, some are omitted.
struct Plan {
  uint64_t seed = 0;
  int64_t names = 0;          // number of VMs at the same time
  int64_t domains = 0;        // number of libvirt's VMs at the same time
  int64_t libvirtd_ends = 0;  // ends of libvirtd, each followed by a start
  int64_t lives = 0;          // total number of QEMUs
  int64_t kills = 0;          // kills of the daemon
  int64_t power_losses = 0;   // losses of the host's power, which also end the daemon
  int64_t faults = 0;         // periods in which the disk of the state directory fails
  int64_t stops = 0;          // stops of the daemon in order
  int64_t clock_steps = 0;    // steps of the wall clock
  int64_t readers = 0;
  int64_t listers = 0;
  int64_t calm = 0;       // 1: no lost monitors, hangs or other clients
  int64_t shortages = 0;  // periods without free descriptors
  int64_t damages = 0;    // damages to the journal while no daemon runs
  int64_t handover = 0;   // 1: a service manager stores the handover of a daemon that stops

  // The parts by name, in the order in which to omit them.
  std::vector<std::pair<const char*, int64_t*>> Parts() {
    return {{"power_losses", &power_losses},
            {"faults", &faults},
            {"shortages", &shortages},
            {"damages", &damages},
            {"clock_steps", &clock_steps},
            {"handover", &handover},
            {"stops", &stops},
            {"kills", &kills},
            {"readers", &readers},
            {"listers", &listers},
            {"libvirtd_ends", &libvirtd_ends},
            {"domains", &domains},
            {"lives", &lives},
            {"names", &names}};
  }
};
Plan PlanOf(uint64_t seed);

}  // namespace vmeventd::simulation
