#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/support/daemon.h"
#include "tests/system/crash/history.h"
#include "tests/system/crash/sightings.h"
#include "tests/system/crash/subscriber.h"
#include "tests/system/crash/vm.h"

namespace vmeventd::crash {

struct HarnessOptions {
  uint64_t seed = 1;
  int rounds = 25;
  int vms = 14;
  int subscribers = 9;       // at least; one of each kind, the rest plain
  std::string directory;     // must be empty; holds all files
  std::string fake_program;  // path of the fake QEMU
};

// Kills the daemon again and again while VMs start, send events and end, and clients follow. The
// seed determines all random choices; timing is up to the kernel. Main thread.
class Harness {
 public:
  explicit Harness(HarnessOptions options);

  // Runs all rounds, ends all VMs and queries the last daemon. Throws if it cannot continue, for
  // example when the daemon does not start or ends by itself.
  History Run();

  int round() const { return round_; }

 private:
  // Runs one VM after another of the same name.
  struct Slot {
    std::string name;
    std::unique_ptr<Vm> vm;
  };

  std::string FileOf(const Slot& slot) const;
  void StartClients();

  void StartDaemon(bool wait);
  void EndDaemon(int signal);

  void Round();
  void StartUp();
  void WorkWhileDown();
  void KillSomehow();
  void KillAtIdle();
  void KillAfterEnd();
  void KillAtShutdownFile();
  void KillAtStopped();
  void KillInBurst();
  void Drain();

  void Log(Slot* slot, const std::string& text);
  std::vector<Slot*> Running();
  // Does one random thing to one random slot.
  void DoSomething();
  void StartVm(Slot* slot);
  void Chat(Slot* slot);
  void BeginEnd(Slot* slot, bool by_guest);
  // Begins the end of a running VM; null: none runs.
  Slot* BeginSomeEnd(bool by_guest);
  // Archives the run once its process is gone.
  void FinishEnd(Slot* slot);

  void EndEverything();
  void WaitForClients();
  void AskLastDaemon();

  const HarnessOptions options_;
  e2e::DaemonOptions daemon_options_;
  Random random_;
  Sightings sightings_;
  std::vector<Slot> slots_;
  std::vector<std::unique_ptr<Subscriber>> clients_;
  std::unique_ptr<e2e::Daemon> daemon_;
  History history_;
  int round_ = 0;
};

}  // namespace vmeventd::crash
