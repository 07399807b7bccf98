#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace vmeventd::simulation {

// The outcome of a plan.
struct Result {
  std::string problem;  // empty: all is as it must be
  std::vector<std::string> story;
  std::map<std::string, uint64_t> reached;
  uint64_t lives = 0;
  uint64_t digest = 0;  // digest of the story, by Worker
};

// Parts of a simulation. The seed chooses all of them; a shorter story for the same seed is found
// by leaving some out.
struct Plan {
  uint64_t seed = 0;
  int64_t names = 0;          // VMs at the same time
  int64_t domains = 0;        // libvirt's VMs at the same time
  int64_t libvirtd_ends = 0;  // ends of libvirtd, each with a new start
  int64_t lives = 0;          // QEMUs in all
  int64_t kills = 0;          // kills of the daemon
  int64_t power_losses = 0;   // kills that are the host's
  int64_t faults = 0;         // times in which the disk of the state directory fails
  int64_t stops = 0;          // stops of the daemon, in order
  int64_t clock_steps = 0;    // steps of the wall clock
  int64_t readers = 0;
  int64_t listers = 0;
  int64_t calm = 0;       // 1: no lost monitors, hangs and other clients
  int64_t shortages = 0;  // times in which there are no descriptors
  int64_t damages = 0;    // damages of the journal, while no daemon runs
  int64_t handover = 0;   // 1: a service manager keeps what a daemon leaves that stops

  // The parts by name, in the order in which to leave them out.
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

// Simulates one node from the start of its first VM to the end of its last. The same plan is the
// same story, in a process that has done nothing else.
Result Simulate(const Plan& plan);

// Makes the files of the running simulation's disk those of SQLite, from now on and for the whole
// process: SQLite's own VFS, on the simulated system calls.
void UseSimulatedFilesForSqlite();

// Names under which Story counts what simulations are to reach: each row of the classification
// table, each kind of event, each way for a stream to end, each call on the journal's files to
// fail, to be killed and to lose power in. Those of `reached` are left out.
std::vector<std::string> NotReached(const std::map<std::string, uint64_t>& reached);

}  // namespace vmeventd::simulation
