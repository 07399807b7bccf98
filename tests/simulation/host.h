#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tests/simulation/daemon.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/random.h"
#include "tests/simulation/simulation.h"
#include "tests/simulation/story.h"
#include "tests/simulation/world.h"

namespace vmeventd::simulation {

// A disk that fails for a while: calls on the files of the state directory get ENOSPC or EIO, all
// of them or some.
class DiskFaults {
 public:
  DiskFaults(Kernel* kernel, Random* random, Story* story);

  void Begin();
  void End();
  bool active() const { return error_ != 0; }

 private:
  int Ask(absl::string_view call, const std::string& path);

  Random* const random_;
  Story* const story_;
  int error_ = 0;
  bool database_only_ = false;
  bool syncs_only_ = false;
  bool reads_too_ = false;
  bool mark_too_ = false;
  uint64_t one_in_ = 1;
};

// Times in which the daemon gets no descriptor, or only a few: its own limit is reached (EMFILE),
// or the system's (ENFILE). It keeps what it has, and may open again what it closes.
class Shortages {
 public:
  Shortages(Kernel* kernel, Random* random, Story* story);

  // Leaves room for few beyond those that are open. `at_start`: as for a daemon that begins, which
  // may have too few to do so.
  void Begin(bool at_start);
  void End();
  bool active() const { return error_ != 0; }
  int begun() const { return begun_; }
  // Paths that were not opened since it began.
  const std::set<std::string>& unopened() const { return unopened_; }

 private:
  int Ask(absl::string_view call, const std::string& path);

  Kernel* const kernel_;
  Random* const random_;
  Story* const story_;
  int begun_ = 0;  // number of shortages so far
  int error_ = 0;
  size_t max_ = 0;        // descriptors
  uint64_t refused_ = 0;  // number of refusals since it began
  std::set<std::string> unopened_;
};

// Faults of the daemon's host: its disk fails, is full or hangs, its power is lost, its clock
// is set, descriptors run out, and the daemon is killed. Chooses their times, by the plan.
class Host {
 public:
  // Calls on the daemon that runs.
  struct Hooks {
    std::function<Daemon*()> daemon;  // null: none runs
    std::function<void()> stop;       // stops it in order
    // Called after some time without descriptors, with the paths that were not opened.
    std::function<void(const std::set<std::string>&)> no_room;
    std::function<void()> has_room;  // called after some time with descriptors again
  };
  Host(const Plan& plan, Kernel* kernel, Random* random, Story* story, World* world, Hooks hooks);

  // A time within the first part of the story.
  absl::Duration SomeTime();

  // Chooses, before a start, where that daemon is to be killed, if it is.
  void AimKill();
  // Likewise, for a start that has much to do.
  void AimKillAtStart();
  // Called after each turn of the pump.
  void AfterPump();
  // Does what the host does after the daemon's death in the call that the kernel names. Returns
  // whether its power was lost.
  bool OnDeath();
  // Keeps the power on for the next stop in order.
  void KeepPower() { power_goes_ = false; }
  // Ends all faults: nothing goes wrong from now on.
  void Settle();

  // Returns whether something is wrong by which a daemon may not start.
  bool start_may_fail() const { return disk_.active() || shortages_.active(); }
  bool short_of_descriptors() const { return shortages_.active(); }
  bool disk_is_healthy() const {
    return !disk_.active() && !shortages_.active() && disk_hangs_until_ <= kernel_->monotonic();
  }
  // Returns whether there have been descriptors for so long that all VMs are followed.
  bool has_descriptors() const;
  // Time until which nothing is written.
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
  bool power_goes_ = false;  // lost with the daemon's end that was just ordered
  bool settles_ = false;
  absl::Duration disk_hangs_until_ = absl::ZeroDuration();
  absl::Duration shortage_ended_ = -absl::InfiniteDuration();
};

}  // namespace vmeventd::simulation
