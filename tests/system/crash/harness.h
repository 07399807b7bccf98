#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/support/daemon.h"
#include "tests/system/crash/history.h"
#include "tests/system/crash/random.h"
#include "tests/system/crash/sightings.h"
#include "tests/system/crash/subscriber.h"
#include "tests/system/crash/test_vm.h"

namespace vmeventd::crash {

struct HarnessOptions {
  uint64_t seed = 1;
  int rounds = 25;
  int fakes = 12;
  int real = 2;
  int subscribers = 9;       // at least; one of each kind, the rest plain
  std::string directory;     // must be empty; holds all files
  std::string fake_program;  // the fake QEMU's
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
    bool real = false;
    std::unique_ptr<TestVm> vm;
    bool used = false;  // history_.runs has at least one run of that name
    size_t last_run = 0;
  };

  std::string FileOf(const Slot& slot) const;
  void StartClients();

  void StartDaemon(bool wait);
  void EndDaemon(int signal, const std::string& how);
  // It has ended.
  void ForgetDaemon(const std::string& how);

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

  // Does one random thing to one random slot.
  void DoSomething();
  void StartVm(Slot* slot);
  // Waits for the outstanding events of the slot's last run, if possible; true: no more will come.
  bool Settle(Slot* slot);
  // Begins the end of a running VM, preferably a followed one; null: none runs.
  Slot* BeginSomeEnd(const std::vector<Deed>& deeds);
  // Archives the run once its process is gone.
  void FinishEnd(Slot* slot);
  std::vector<Slot*> Running(bool followed);

  void EndEverything();
  void WaitForClients();
  void AskLastDaemon();
  void ProbeCursors(const std::string& journal_id, uint64_t newest);

  const HarnessOptions options_;
  e2e::DaemonOptions daemon_options_;
  Random random_;
  Sightings sightings_;
  std::vector<Slot> slots_;
  std::vector<std::unique_ptr<Subscriber>> clients_;
  std::unique_ptr<e2e::Daemon> daemon_;
  DaemonNow now_;
  History history_;
  int round_ = 0;
};

}  // namespace vmeventd::crash
