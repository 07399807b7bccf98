// Steps of the domains of libvirt: docs/internals/libvirt.md, "Endings".

#include <csignal>
#include <memory>

#include "absl/strings/str_cat.h"
#include "tests/simulation/world.h"
#include "watcher/core/libvirt_spec.h"

namespace vmeventd::simulation {

void World::BeginDomain(Life* life) {
  life->uuid = absl::StrCat("475852fa-ea74-4630-8eae-00000000000", life->name.substr(3));
  constexpr absl::string_view kEnd("\0", 1);
  life->process->command_line = absl::StrCat("qemu", kEnd, "-uuid", kEnd, life->uuid, kEnd);
  life->listener = std::make_shared<Listener>();
  life->socket.clear();
  life->no_shutdown = true;
  life->no_reboot = false;
  life->run_state = "prelaunch";
  life->run_id = RunIdOf(DomainSource(kLibvirtUri), *life->process);
  libvirtd_->Add(life);
  story_->Log(life->name, "is a domain, id ", life->domain_id);
  if (random_->OneIn(5)) return DomainArrives(life);
  In(absl::ZeroDuration(), absl::Seconds(2), life, [this, life] {
    life->run_state = "running";
    libvirtd_->SayRunState(life);
    SendEvent(life, Report::Kind::kResume, "RESUME", "");
    libvirtd_->SayStarted(life, /*incoming=*/false);
    NextStep(life);
  });
}

void World::NextDomainStep(Life* life) {
  constexpr Step kSteps[] = {&World::Reboot,
                             &World::StopAndContinue,
                             &World::Sleep,
                             &World::PanicAndReset,
                             &World::DiskError,
                             &World::PressIgnored,
                             &World::DownAndUp,
                             &World::WatchdogPause,
                             &World::DeclareIntent,
                             &World::HibernatesInVain,
                             &World::DomainMigrationFails,
                             &World::WatchdogResets,
                             &World::WatchdogIsOutlived,
                             &World::ReturnsToSnapshot,
                             &World::AnotherIsOutOfMemory};
  constexpr Step kEndings[] = {&World::GuestPowersOff,
                               &World::PowerdownObeyed,
                               &World::Quit,
                               &World::Signal,
                               &World::Kill,
                               &World::KillForMemory,
                               &World::EndByHost,
                               &World::Crash,
                               &World::OutOfMemory,
                               &World::Panic,
                               &World::PanicPauseQuit,
                               &World::WatchdogShutdown,
                               &World::WatchdogPauseQuit,
                               &World::Hibernate,
                               &World::HostError,
                               &World::StopQuit,
                               &World::DomainMigrates,
                               &World::DomainIsKilledAsItMigrates,
                               &World::DomainIsDestroyed,
                               &World::DomainThatHangsIsDestroyed,
                               &World::DomainIsDumped,
                               &World::DomainIsSaved};
  const Step step = random_->OneIn(3) ? kEndings[random_->Below(std::size(kEndings))]
                                      : kSteps[random_->Below(std::size(kSteps))];
  const absl::Duration high = random_->OneIn(6) ? absl::Minutes(15) : absl::Seconds(10);
  In(absl::ZeroDuration(), high, life, [this, life, step] { (this->*step)(life); });
}

// libvirt tidies up, and says how it ended; then the domain may start again.
void World::DomainIsGone(Life* life) {
  ManagerEnd end = ManagerEnd::kFailed;
  for (const Report& report : life->reports) {
    if (report.kind == Report::Kind::kShutdown) end = ManagerEnd::kShutdown;
  }
  if (life->reported.has_value()) end = *life->reported;
  const bool late = random_->OneIn(8);
  Within(absl::ZeroDuration(), late ? absl::Seconds(20) : absl::Milliseconds(50),
         [this, life, end] {
           libvirtd_->Remove(life, end);
           const bool at_once = random_->OneIn(2);
           Within(absl::ZeroDuration(), at_once ? absl::Milliseconds(5) : absl::Seconds(60),
                  [this, name = life->name] { Begin(name); });
         });
}

// Waits for a VM of another host, which arrives or does not.
void World::DomainArrives(Life* life) {
  life->run_state = "inmigrate";
  libvirtd_->SayRunState(life);
  Migration(life, "setup");
  libvirtd_->SayStarted(life, /*incoming=*/true);
  In(absl::ZeroDuration(), absl::Seconds(20), life, [this, life] {
    Migration(life, "active");
    if (random_->OneIn(2)) {
      Migration(life, "completed");
      if (random_->OneIn(2)) {
        story_->Log(life->name, "its power button was pressed at its source");
        life->pressed = now() - random_->Between(absl::ZeroDuration(), absl::Minutes(5));
      }
      Resume(life);
      return NextStep(life);
    }
    Decide(life, endings::kIncomingFails);
    Migration(life, "failed");
    ProcessEnds(life, 1 << 8);
  });
}

void World::Migration(Life* life, absl::string_view status) {
  SendEvent(life, Report::Kind::kOther, "MIGRATION", absl::StrCat("{\"status\": \"", status, "\"}"),
            std::string(status));
}

void World::StopToMigrate(Life* life) {
  Migration(life, "setup");
  Migration(life, "active");
  Pause(life, "finish-migrate");
}

void World::DomainMigrationFails(Life* life) {
  StopToMigrate(life);
  In(absl::ZeroDuration(), absl::Seconds(2), life, [this, life] {
    Migration(life, "failed");
    Resume(life);
    NextStep(life);
  });
}

void World::DomainMigrates(Life* life) {
  StopToMigrate(life);
  In(absl::ZeroDuration(), absl::Seconds(2), life, [this, life] {
    Decide(life, endings::kDomainMigrates);
    Migration(life, "completed");
    life->reported = ManagerEnd::kMigrated;
    Leave(life);
  });
}

void World::DomainIsKilledAsItMigrates(Life* life) {
  StopToMigrate(life);
  In(absl::ZeroDuration(), absl::Seconds(2), life, [this, life] {
    Decide(life, endings::kDomainKilledInMigration);
    HostKills(life);
  });
}

void World::DomainIsDestroyed(Life* life) {
  Decide(life, endings::kDomainDestroyed);
  life->reported = ManagerEnd::kDestroyed;
  ShutDown(life, "host-signal");
}

void World::DomainThatHangsIsDestroyed(Life* life) {
  Decide(life, endings::kHangingDomainDestroyed);
  life->reported = ManagerEnd::kDestroyed;
  HostKills(life);
}

void World::DomainIsSaved(Life* life) {
  Pause(life, "paused");
  Migration(life, "setup");
  Migration(life, "active");
  In(absl::ZeroDuration(), absl::Seconds(5), life, [this, life] {
    Decide(life, endings::kDomainSaved);
    Migration(life, "completed");
    life->reported = ManagerEnd::kSaved;
    Leave(life);
  });
}

// `virsh dump --crash`.
void World::DomainIsDumped(Life* life) {
  Decide(life, endings::kDomainDumped);
  life->reported = ManagerEnd::kCrashed;
  ProcessEnds(life, 0);
}

}  // namespace vmeventd::simulation
