#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>

#include "absl/time/time.h"
#include "tests/simulation/daemon.h"
#include "tests/simulation/disk_faults.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/plan.h"
#include "tests/simulation/random.h"
#include "tests/simulation/shortages.h"
#include "tests/simulation/story.h"
#include "tests/simulation/world.h"

namespace vmeventd::simulation {

// Faults of the daemon's host: its disk fails, is full or hangs, its power is lost, its clock is
// set, descriptors run out, or the daemon is killed. Chooses their times according to the plan.
class Host {
 public:
  // Functions that act on the running daemon.
  struct Hooks {
    std::function<Daemon*()> daemon;  // returns null if none runs
    std::function<void()> stop;       // stops the daemon in order
    // Called after some time without descriptors, with the paths that could not be opened.
    std::function<void(const std::set<std::string>&)> no_room;
    std::function<void()> has_room;  // called after some time with descriptors again
  };
  Host(const Plan& plan, Kernel* kernel, Random* random, Story* story, World* world, Hooks hooks);

  // Returns a random time in the first part of the story.
  absl::Duration SomeTime();

  // Called before a start: chooses whether and where this daemon will be killed.
  void AimKill();
  // Like AimKill(), for a start that has much to do.
  void AimKillAtStart();
  // Called after each turn of the pump.
  void AfterPump();
  // Called after the daemon died in the system call Kernel::killed_in(). Returns whether the host
  // has lost its power.
  bool OnDeath();
  // Prevents a loss of power at the next stop in order.
  void KeepPower() { power_goes_ = false; }
  // Ends all faults; no new ones begin.
  void Settle();

  // Returns whether there is a fault that may prevent the start of a daemon.
  bool start_may_fail() const { return disk_.active() || shortages_.active(); }
  bool short_of_descriptors() const { return shortages_.active(); }
  bool disk_is_healthy() const {
    return !disk_.active() && !shortages_.active() && disk_hangs_until_ <= kernel_->monotonic();
  }
  // Returns whether descriptors have been available long enough for all VMs to be followed.
  bool has_descriptors() const;
  // Paths whose opening has failed since the last shortage of descriptors began.
  const std::set<std::string>& unopened() const { return shortages_.unopened(); }
  // Time until which the disk hangs: nothing is written.
  absl::Duration disk_hangs_until() const { return disk_hangs_until_; }

 private:
  void FailDisk();
  void HangDisk();
  void StepClock();
  void RunOutOfDescriptors();
  void LosePower();
  bool daemon_runs() const { return hooks_.daemon() != nullptr; }

  Kernel* const kernel_;
  Random* const random_;
  Story* const story_;
  World* const world_;
  const Hooks hooks_;
  DiskFaults disk_;
  Shortages shortages_;
  int64_t kills_;
  int64_t power_losses_;
  bool power_goes_ = false;  // the power is lost at the end of the daemon that was just ordered
  // The daemon was killed before it had synced a commit, and the power was not lost.
  bool commit_is_unsynced_ = false;
  bool settles_ = false;
  absl::Duration disk_hangs_until_ = absl::ZeroDuration();
  absl::Duration shortage_ended_ = -absl::InfiniteDuration();
};

}  // namespace vmeventd::simulation
