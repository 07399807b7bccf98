#include "tests/simulation/host.h"

#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/simulation/plan.h"

namespace vmeventd::simulation {
namespace {

// "write of journal.db-wal" for where a daemon was killed.
std::string KindOf(const std::string& killed_in) {
  const size_t slash = killed_in.rfind('/');
  const size_t space = killed_in.find(" of ");
  if (space == std::string::npos) return killed_in;
  std::string call = killed_in.substr(0, space);
  if (slash == std::string::npos) return call;
  const std::string file = killed_in.substr(slash + 1);
  if (killed_in.find(kStateDirectory) != std::string::npos) {
    return absl::StrCat(call, " of ", file);
  }
  if (killed_in.find(kWatchedDirectory) != std::string::npos) {
    return absl::StrCat(call, file.find(".shutdown") != std::string::npos ? " of the shutdown file"
                                                                          : " of a socket");
  }
  return call;
}

}  // namespace

Host::Host(const Plan& plan, Kernel* kernel, Random* random, Story* story, World* world,
           Hooks hooks)
    : kernel_(kernel),
      random_(random),
      story_(story),
      world_(world),
      hooks_(std::move(hooks)),
      disk_(kernel, random, story),
      shortages_(kernel, random, story),
      kills_(plan.kills),
      power_losses_(plan.power_losses) {
  for (int64_t i = 0; i < plan.faults; ++i) {
    world_->At(SomeTime(), [this] {
      if (settles_) return;
      if (random_->OneIn(4)) {
        HangDisk();
      } else {
        FailDisk();
      }
    });
  }
  for (int64_t i = 0; i < plan.clock_steps; ++i) {
    world_->At(SomeTime(), [this] { StepClock(); });
  }
  for (int64_t i = 0; i < plan.shortages; ++i) {
    world_->At(SomeTime(), [this] {
      if (!settles_) RunOutOfDescriptors();
    });
  }
}

absl::Duration Host::SomeTime() {
  return kernel_->monotonic() + random_->Between(absl::ZeroDuration(), absl::Minutes(40));
}

void Host::FailDisk() {
  disk_.Begin();
  const absl::Duration end =
      kernel_->monotonic() + random_->Between(absl::Milliseconds(1), absl::Seconds(60));
  if (kills_ > 0 && daemon_runs() && random_->OneIn(2)) {
    // Events that the disk did not take are at stake while it fails.
    kernel_->KillAfter(static_cast<uint64_t>(random_->Between(1, 2000)));
  } else if (random_->OneIn(4)) {
    world_->At(random_->Between(kernel_->monotonic(), end), [this] { hooks_.stop(); });
  }
  world_->At(end, [this] {
    // A host whose disk hangs is cut from its power.
    if (!settles_ && power_losses_ > 0 && daemon_runs() && random_->OneIn(2)) {
      power_goes_ = true;
      kernel_->KillAfter(1);
    }
    disk_.End();
    // Writes that wait for their next try have no other one then.
    if (!settles_ && random_->OneIn(4)) {
      world_->At(kernel_->monotonic() + random_->Between(absl::ZeroDuration(), absl::Seconds(1)),
                 [this] { hooks_.stop(); });
    }
  });
}

// Holds back all writes for a while; the daemon is killed meanwhile, in the shutdown file.
void Host::HangDisk() {
  disk_hangs_until_ = kernel_->monotonic() + random_->Between(absl::Seconds(1), absl::Seconds(60));
  story_->Log("disk", "hangs");
  if (kills_ == 0 || !daemon_runs()) return;
  kernel_->KillAt("fchmod", ".shutdown", static_cast<uint64_t>(random_->Between(1, 20)));
}

void Host::StepClock() {
  const absl::Duration step = random_->OneIn(3)
                                  ? random_->Between(-absl::Hours(50), absl::Hours(50))
                                  : random_->Between(-absl::Seconds(5), absl::Seconds(5));
  story_->Log("host", "the wall clock is set by ", absl::FormatDuration(step));
  story_->Reach(step > absl::Hours(1)    ? "clock step ahead by hours"
                : step < -absl::Hours(1) ? "clock step back by hours"
                                         : "clock step");
  kernel_->StepWallClock(step);
}

void Host::RunOutOfDescriptors() {
  const absl::Duration end =
      kernel_->monotonic() + random_->Between(absl::Milliseconds(1), absl::Seconds(60));
  const bool at_start = !daemon_runs() || random_->OneIn(4);
  if (at_start) hooks_.stop();
  shortages_.Begin(at_start);
  world_->At(end, [this, end] {
    if (shortages_.active()) hooks_.no_room(shortages_.unopened());
    shortages_.End();
    shortage_ended_ = end;
    world_->At(end + kFollowsAgain, [this, begun = shortages_.begun()] {
      if (shortages_.begun() == begun) hooks_.has_room();
    });
  });
}

bool Host::has_descriptors() const {
  return !shortages_.active() && kernel_->monotonic() - shortage_ended_ >= kFollowsAgain;
}

// Loses the power, at times, while public events are not in the journal: they are at stake while
// the disk fails.
void Host::AfterPump() {
  if (!disk_.active() || settles_ || kills_ <= 0 || power_losses_ <= 0 || kernel_->dead()) return;
  const Daemon& daemon = *hooks_.daemon();
  const bool ahead = daemon.log().range().newest > daemon.log().range().committed;
  if (!ahead || !random_->OneIn(10)) return;
  power_goes_ = true;
  kernel_->KillAfter(1);
}

// Aims anywhere, soon or after a while; or where it matters.
void Host::AimKill() {
  struct Place {
    const char* call;
    const char* path_end;
  };
  static constexpr Place kPlaces[] = {
      {"write", "journal.db"},     {"fsync", "journal.db"}, {"write", "journal.db-wal"},
      {"fsync", "journal.db-wal"}, {"write", "sequence"},   {"fsync", "sequence"},
      {"open", ".shutdown"},       {"fchmod", ".shutdown"}, {"unlink", ".shutdown"},
      {"recv", ".kvmd"},           {"fchmod", ".shutdown"}};
  const bool commit_is_unsynced = std::exchange(commit_is_unsynced_, false);
  if (kills_ <= 0) return;
  // Before the next daemon writes anything, if it has not synced what it found.
  if (commit_is_unsynced && power_losses_ > 0 && random_->OneIn(2)) {
    power_goes_ = true;
    return kernel_->KillAt("write", "journal.db-wal", 0);
  }
  if (random_->OneIn(2)) {
    const Place& place = kPlaces[random_->Below(std::size(kPlaces))];
    const uint64_t later = random_->OneIn(2) ? 0 : random_->Below(8);
    return kernel_->KillAt(place.call, place.path_end, later);
  }
  kernel_->KillAfter(static_cast<uint64_t>(random_->OneIn(3) ? random_->Between(1, 400)
                                                             : random_->Between(400, 40'000)));
}

void Host::AimKillAtStart() {
  if (kills_ <= 0 || random_->OneIn(3)) return;
  if (!random_->OneIn(4)) return kernel_->KillAt("rename", "", random_->Below(5));
  kernel_->KillAfter(static_cast<uint64_t>(random_->Between(1, 400)));
}

bool Host::OnDeath() {
  const bool power = std::exchange(power_goes_, false) ||
                     (power_losses_ > 0 && (power_losses_ >= kills_ || random_->OneIn(2)));
  story_->Log("daemon", "is killed in ", kernel_->killed_in());
  story_->Reach(power ? "power is lost in " : "kill in ", KindOf(kernel_->killed_in()));
  commit_is_unsynced_ = !power && absl::StartsWith(kernel_->killed_in(), "fsync of ") &&
                        absl::EndsWith(kernel_->killed_in(), "/journal.db-wal");
  kernel_->BuryDaemon();
  --kills_;
  if (power) LosePower();
  return power;
}

void Host::LosePower() {
  --power_losses_;
  story_->Log("host", "loses its power");
  world_->KillAll();
  // A boot takes longer than what the start of one process may seem to move by.
  kernel_->AdvanceTo(kernel_->monotonic() + random_->Between(absl::Seconds(10), absl::Seconds(60)));
  kernel_->disk().LosePower(random_);
  kernel_->Reboot();
}

void Host::Settle() {
  settles_ = true;
  kills_ = 0;
  kernel_->KillAfter(0);
  kernel_->KillAt("", "", 0);
  disk_.End();
  shortages_.End();
}

}  // namespace vmeventd::simulation
