#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace vmeventd::simulation {

// The outcome of a plan.
struct Result {
  std::string problem;  // empty: no failure
  std::vector<std::string> story;
  std::map<std::string, uint64_t> reached;
  uint64_t lives = 0;
  uint64_t digest = 0;  // digest of the story; set by Worker
};

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

// Simulates one node from the start of its first VM to the end of its last. In a process that has
// done nothing else, the same plan gives the same story.
Result Simulate(const Plan& plan);

// From now on, for the whole process, SQLite uses the files on the running simulation's disk:
// SQLite's own VFS on the simulated system calls.
void UseSimulatedFilesForSqlite();

// The names that Story should count but that are not in `reached`: each row of the classification
// table, each kind of event, each way in which a stream ends, and each call on the journal's files
// with a failure, a kill and a loss of power in it.
std::vector<std::string> NotReached(const std::map<std::string, uint64_t>& reached);

}  // namespace vmeventd::simulation
