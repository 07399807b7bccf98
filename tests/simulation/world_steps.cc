// Steps of the VMs: docs/internals/qemu.md, "Events and their meaning".

#include <csignal>

#include "tests/simulation/world.h"

namespace vmeventd::simulation {
namespace {

constexpr absl::Duration kNow = absl::ZeroDuration();
constexpr absl::Duration kWindow = absl::Minutes(10);

// Processes of the host's that send signals, and are gone at once: no VM has their numbers.
constexpr int64_t kInit = 1;
constexpr int64_t kManager = 297;
constexpr int64_t kAnotherManager = 298;
constexpr int64_t kKiller = 299;
constexpr int64_t kMemoryKiller = 300;
constexpr int64_t kTheKernel = 0;

// Returns whether it is too close to decide whether a press still counts.
bool PressIsBorderline(const Life& life, absl::Duration now) {
  return absl::AbsDuration(now - life.pressed - kWindow) < absl::Minutes(1);
}

}  // namespace

// Steps of a life

void World::Reboot(Life* life) {
  if (life->no_reboot) return NextStep(life);
  for (uint64_t i = 1 + random_->Below(3); i > 0; --i)
    SendEvent(life, Report::Kind::kReset, "RESET", "");
  NextStep(life);
}

void World::StopAndContinue(Life* life) {
  Pause(life, "paused");
  ResumeWithin(absl::Seconds(20), life);
}

void World::Sleep(Life* life) {
  life->run_state = "suspended";
  SendEvent(life, Report::Kind::kOther, "SUSPEND", "");
  In(kNow, absl::Seconds(20), life, [this, life] {
    life->run_state = "running";
    SendEvent(life, Report::Kind::kOther, "WAKEUP", "");
    NextStep(life);
  });
}

void World::PanicAndReset(Life* life) {
  if (life->no_reboot) return NextStep(life);
  SendEvent(life, Report::Kind::kPanic, "GUEST_PANICKED", "{\"action\": \"run\"}", "run");
  In(kNow, absl::Seconds(5), life, [this, life] { Reboot(life); });
}

void World::DiskError(Life* life) {
  if (random_->OneIn(4)) {
    SendEvent(life, Report::Kind::kOther, "MEMORY_FAILURE",
              "{\"recipient\": \"hypervisor\", \"action\": \"ignore\"}");
    return NextStep(life);
  }
  if (random_->OneIn(4)) {  // a manager has asked for these
    SendEvent(life, Report::Kind::kOther, "MIGRATION", "{\"status\": \"setup\"}");
    return NextStep(life);
  }
  // A flood, sometimes, and perhaps its last words.
  const bool floods = random_->OneIn(6);
  for (int i = floods ? 300 : 1; i > 0; --i) {
    SendEvent(life, Report::Kind::kOther, "BLOCK_IO_ERROR",
              "{\"device\": \"disk0\", \"operation\": \"write\", \"action\": \"report\"}");
  }
  if (floods && random_->OneIn(3)) return Crash(life);
  NextStep(life);
}

void World::PressIgnored(Life* life) {
  SendEvent(life, Report::Kind::kPowerdown, "POWERDOWN", "");
  NextStep(life);
}

void World::LoseMonitor(Life* life) {
  if (life->client == nullptr) return NextStep(life);
  story_->Log(life->name, "its monitor is closed, and listens again");
  CloseClient(life);
  In(absl::Seconds(2), absl::Seconds(12), life, [this, life] { NextStep(life); });
}

bool World::AnswersAtOneSocket(const Life& life) {
  const bool known = life.client != nullptr && life.client_daemon != 0 && life.negotiated;
  return known && life.second == nullptr;
}

void World::AddSocket(Life* life) {
  // A daemon cannot know that two sockets lead to one QEMU until that has sent something.
  if (life->launcher != nullptr || !AnswersAtOneSocket(*life)) return NextStep(life);
  story_->Log(life->name, "listens on another socket, too");
  story_->Reach("a QEMU has two sockets");
  life->second_run_id = RunIdOf(SecondSocketOf(*life), *life->process);
  life->second = kernel_->Bind(SecondSocketOf(*life), life->process);
  life->second->listening = true;
  NextStep(life);
}

void World::Hang(Life* life) {
  story_->Log(life->name, "QEMU hangs");
  life->hangs = true;
  In(absl::Milliseconds(1), absl::Seconds(20), life, [this, life] {
    story_->Log(life->name, "QEMU hangs no longer");
    life->hangs = false;
    life->kept_at = now();
    NextStep(life);
  });
}

// Hangs before it can answer what its STOP makes a daemon ask.
void World::HangPaused(Life* life) {
  Pause(life, "paused");
  story_->Log(life->name, "QEMU hangs");
  life->hangs = true;
  In(absl::Milliseconds(1), absl::Seconds(20), life, [this, life] {
    story_->Log(life->name, "QEMU hangs no longer");
    life->hangs = false;
    life->kept_at = now();
    ResumeWithin(absl::Seconds(5), life);
  });
}

void World::ManagerConnects(Life* life) {
  const ConnectionPtr connection = kernel_->ConnectAsManager(life->listener);
  if (connection == nullptr) return NextStep(life);
  story_->Log(life->name, "a manager connects to the monitor");
  connection->to_server = "{\"execute\":\"qmp_capabilities\"}\n";
  Within(absl::Milliseconds(1), absl::Seconds(40), [this, life, connection] {
    connection->client_closed = true;
    life->kept_at = now();
  });
  if (!life->reports.empty()) NextStep(life);  // no reports: it has not begun
}

void World::DownAndUp(Life* life) {
  if (!life->no_shutdown) return NextStep(life);
  SendShutdown(life, "guest-shutdown");
  Pause(life, "shutdown");
  In(kNow, absl::Seconds(30), life, [this, life] { ComesUp(life); });
}

// Comes up by a reset; then it may be paused, which shows that it was not down any more.
void World::ComesUp(Life* life) {
  life->run_state = "prelaunch";
  SendEvent(life, Report::Kind::kReset, "RESET", "");
  Resume(life);
  const bool paused = random_->OneIn(2);
  if (paused) Pause(life, "paused");
  In(absl::Seconds(1), absl::Seconds(30), life, [this, life, paused] {
    if (paused && random_->OneIn(2)) return Quit(life);
    life->run_state = "running";
    if (paused) SendEvent(life, Report::Kind::kResume, "RESUME", "");
    NextStep(life);
  });
}

// Goes down and up while its monitor is closed for a while: what looks like its end is none.
void World::DownAndUpUnseen(Life* life) {
  if (!life->no_shutdown) return NextStep(life);
  SendShutdown(life, "guest-shutdown");
  Pause(life, "shutdown");
  if (life->client != nullptr) {
    story_->Log(life->name, "its monitor is closed, and listens again");
    CloseClient(life);
  }
  // Comes up before anybody has connected again, or later.
  In(absl::Milliseconds(10), random_->OneIn(2) ? absl::Milliseconds(500) : absl::Seconds(30), life,
     [this, life] { ComesUp(life); });
}

// The host resets it before it is down.
void World::HibernatesInVain(Life* life) {
  if (life->no_reboot) return NextStep(life);
  SendEvent(life, Report::Kind::kHibernate, "SUSPEND_DISK", "");
  In(kNow, absl::Seconds(5), life, [this, life] { Reboot(life); });
}

void World::WatchdogPause(Life* life) {
  const absl::Duration voidable = life->voidable;
  const bool stricken = life->stricken;
  SendEvent(life, Report::Kind::kWatchdog, "WATCHDOG", "{\"action\": \"pause\"}", "pause");
  Pause(life, "watchdog");
  In(kNow, absl::Seconds(20), life, [this, life, voidable, stricken] {
    // A resume makes the watchdog void.
    life->voidable = voidable;
    life->stricken = stricken;
    Resume(life);
    NextStep(life);
  });
}

// The watchdog resets the guest, as it does by default.
void World::WatchdogResets(Life* life) {
  SendEvent(life, Report::Kind::kWatchdog, "WATCHDOG", "{\"action\": \"reset\"}", "reset");
  if (!life->no_reboot) return Reboot(life);
  Decide(life, endings::kWatchdogExpires);
  ShutDown(life, "guest-reset");
}

// The watchdog presses the power button, and the guest lives on: until it reboots, or for longer
// than the press counts.
void World::WatchdogIsOutlived(Life* life) {
  const absl::Duration voidable = life->voidable;
  const bool stricken = life->stricken;
  SendEvent(life, Report::Kind::kWatchdog, "WATCHDOG", "{\"action\": \"shutdown\"}", "shutdown");
  SendEvent(life, Report::Kind::kPowerdown, "POWERDOWN", "");
  if (!life->no_reboot && random_->OneIn(2)) {
    return In(kNow, absl::Seconds(20), life, [this, life] { Reboot(life); });
  }
  In(kWindow + absl::Minutes(2), kWindow + absl::Minutes(3), life,
     [this, life, voidable, stricken] {
       life->voidable = voidable;
       life->stricken = stricken;
       NextStep(life);
     });
}

// `loadvm`, to before what happened last.
void World::ReturnsToSnapshot(Life* life) {
  if (random_->OneIn(2)) {
    SendEvent(life, Report::Kind::kPanic, "GUEST_PANICKED", "{\"action\": \"run\"}", "run");
  } else {
    SendEvent(life, Report::Kind::kPowerdown, "POWERDOWN", "");
  }
  In(kNow, absl::Seconds(20), life, [this, life] {
    Pause(life, "restore-vm");
    In(kNow, absl::Seconds(1), life, [this, life] {
      life->pressed = -absl::InfiniteDuration();
      Resume(life);
      NextStep(life);
    });
  });
}

// KVM cannot run the guest any more: somebody resets it, or ends QEMU.
void World::InternalError(Life* life) {
  Pause(life, "internal-error");
  In(absl::Milliseconds(100), absl::Seconds(20), life, [this, life] {
    if (random_->OneIn(3)) {
      Decide(life, endings::kInternalError);
      return ShutDown(life, "host-qmp-quit");
    }
    SendEvent(life, Report::Kind::kReset, "RESET", "");
    Resume(life);
    NextStep(life);
  });
}

void World::AnotherIsOutOfMemory(Life* life) {
  if (random_->OneIn(2)) {
    story_->Log("host", "the kernel's OOM victim is no VM");
    const ProcessPtr victim = kernel_->Start("/other");
    kernel_->NameVictim(victim);
    EndHelper(victim);
    return NextStep(life);
  }
  story_->Log(life->name, "another process of its cgroup is killed for memory");
  kernel_->CountOomKill(life->process->cgroup);
  life->others_oom_kill = now();
  if (!random_->OneIn(3)) return NextStep(life);
  // It is killed for another reason, which somebody has declared.
  In(absl::Milliseconds(1), absl::Seconds(10), life, [this, life] {
    Declare(life, absl::Hours(2));
    In(absl::Milliseconds(1), absl::Seconds(10), life, [this, life] { Kill(life); });
  });
}

void World::DeclareIntent(Life* life) {
  Declare(life, random_->OneIn(2) ? absl::Hours(2) : absl::Seconds(random_->Between(1, 60)));
  NextStep(life);
}

void World::Declare(Life* life, absl::Duration ttl) {
  life->intents.push_back({.asked = now(), .ttl = ttl});
  story_->Log(life->name, "somebody declares an intent for ", absl::FormatDuration(ttl));
  const size_t index = life->intents.size() - 1;
  declare_(life, index);
  In(absl::Milliseconds(1), absl::Minutes(5), life, [this, life, index] { declare_(life, index); });
  if (random_->OneIn(3)) {
    In(absl::Milliseconds(1), absl::Seconds(30), life, [this, life, index] {
      story_->Log(life->name, "the intent is withdrawn");
      life->intents[index].withdrawn = true;
      withdraw_(life, index);
    });
  }
}

void World::MigrationFails(Life* life) {
  Pause(life, "finish-migrate");
  ResumeWithin(absl::Milliseconds(4), life);
}

void World::ShutHostDown() {
  if (kernel_->HostWas(true, now(), now())) return;
  story_->Log("host", "begins to shut down");
  story_->Reach("the host begins to shut down");
  kernel_->SetHostShutdown(true);
  Within(absl::Milliseconds(1), absl::Seconds(60), [this] {
    if (!kernel_->HostWas(true, now(), now())) return;  // rebooted since
    story_->Log("host", "cancels its shutdown");
    kernel_->SetHostShutdown(false);
  });
}

void World::HostBeginsToShutDown(Life* life) {
  if (random_->OneIn(4)) ShutHostDown();
  NextStep(life);
}

// Endings

void World::GuestPowersOff(Life* life) {
  if (PressIsBorderline(*life, now())) {
    return In(absl::Minutes(2), absl::Minutes(3), life, [this, life] { GuestPowersOff(life); });
  }
  const bool obeyed = now() - life->pressed <= kWindow;
  Decide(life, obeyed ? endings::kGuestObeysPress : endings::kGuestPowersOff);
  if (!life->no_shutdown) return ShutDown(life, "guest-shutdown");
  SendShutdown(life, "guest-shutdown");
  Pause(life, "shutdown");
  In(absl::Milliseconds(1), absl::Minutes(2), life, [this, life] {
    if (random_->OneIn(3)) return HostKills(life);
    ShutDown(life, "host-qmp-quit");
  });
}

// Stays down, perhaps for longer than somebody's intent to end it lasts.
void World::StaysDown(Life* life) {
  if (!life->no_shutdown) return NextStep(life);
  if (random_->OneIn(2)) return GuestPowersOff(life);
  Declare(life, absl::Seconds(random_->Between(3, 30)));
  In(absl::Milliseconds(1), absl::Seconds(2), life, [this, life] { GuestPowersOff(life); });
}

void World::PowerdownObeyed(Life* life) {
  SendEvent(life, Report::Kind::kPowerdown, "POWERDOWN", "");
  In(absl::Milliseconds(10), absl::Minutes(2), life, [this, life] { GuestPowersOff(life); });
}

void World::Quit(Life* life) {
  Decide(life, endings::kQuit);
  ShutDown(life, "host-qmp-quit");
}

void World::StopQuit(Life* life) {
  Pause(life, "paused");
  In(kNow, absl::Seconds(5), life, [this, life] { Quit(life); });
}

void World::Signal(Life* life) {
  if (random_->OneIn(6)) {
    Decide(life, endings::kEarlySignal);
    SendSignal(life, SIGTERM, kManager, "manager");
    return ProcessEnds(life, SIGTERM);
  }
  Decide(life, endings::kSignal);
  constexpr int kSignals[] = {SIGTERM, SIGINT, SIGHUP};
  SendSignal(life, kSignals[random_->Below(std::size(kSignals))], kManager, "manager");
  // QEMU's time is in microseconds.
  In(absl::Microseconds(1), absl::Microseconds(100), life, [this, life] {
    ShutDown(life, "host-signal");
    if (random_->OneIn(2)) return;
    // Somebody loses patience, perhaps before anyone has read its word.
    In(kNow, random_->OneIn(2) ? absl::Microseconds(200) : absl::Milliseconds(30), life,
       [this, life] { SendSignal(life, SIGTERM, kAnotherManager, "impatient"); });
  });
}

void World::SendSignal(Life* life, int signal, int64_t sender, const std::string& command) {
  if (life->sender == -1) {
    life->sender = sender;
    life->kill_ring = kernel_->ring();
    if (life->kill_ring != 0) life->kill_seen_by = daemon_;
  }
  kernel_->SendSignal(life->process, signal, sender, command);
}

// Kills it by a process of the host's that is gone at once.
void World::HostKills(Life* life) {
  SendSignal(life, SIGKILL, kKiller, "kill");
  ProcessEnds(life, SIGKILL);
}

void World::Kill(Life* life) {
  if (random_->OneIn(2)) {
    Decide(life, endings::kKilledByHost);
    return HostKills(life);
  }
  if (random_->OneIn(2)) {
    Decide(life, endings::kKillsItself);
    SendSignal(life, SIGKILL, life->process->pid, life->process->program);
  } else {
    Decide(life, endings::kKilledByKernel);
    SendSignal(life, SIGKILL, kTheKernel, "");
  }
  ProcessEnds(life, SIGKILL);
}

void World::KillForMemory(Life* life) {
  Decide(life, endings::kKilledForMemory);
  SendSignal(life, SIGKILL, kMemoryKiller, "earlyoom");
  ProcessEnds(life, SIGKILL);
}

void World::EndByHost(Life* life) {
  Decide(life, endings::kEndedByHost);
  SendSignal(life, SIGQUIT, kKiller, "kill");
  ProcessEnds(life, SIGQUIT);
}

void World::DebuggerKills(Life* life) {
  Pause(life, "paused");
  In(absl::Milliseconds(100), absl::Seconds(5), life, [this, life] {
    Decide(life, endings::kDebuggerKills);
    ProcessEnds(life, 0);
  });
}

void World::GuestExits(Life* life) {
  if (!life->guest_can_exit) return NextStep(life);
  Decide(life, endings::kGuestExits);
  ProcessEnds(life, 3 << 8);
}

// Sends both at once: nothing but the order of the messages shows that one came before the other.
void World::EndsWithHost(Life* life) {
  ShutHostDown();
  if (random_->OneIn(4)) {
    Decide(life, endings::kKilledAsHostShutsDown);
    return HostKills(life);
  }
  Decide(life, endings::kHostShutsDown);
  SendSignal(life, SIGTERM, kInit, "systemd");
  ShutDown(life, "host-signal");
}

void World::Crash(Life* life) {
  Decide(life, endings::kCrashes);
  ProcessEnds(life, random_->OneIn(2) ? SIGSEGV | 0x80 : 1 << 8);
}

void World::OutOfMemory(Life* life) {
  Decide(life, endings::kRunsOutOfMemory);
  life->process->killed = true;
  SendSignal(life, SIGKILL, kTheKernel, "");
  kernel_->NameVictim(life->process);
  if (kernel_->ring() != 0 && life->negotiated) life->victim_seen_by = life->client_daemon;
  kernel_->CountOomKill(life->process->cgroup);
  if (random_->OneIn(3)) {
    // Somebody declares an intent while it is dying, which reads the counter.
    In(kNow, absl::Milliseconds(10), life, [this, life] { Declare(life, absl::Hours(2)); });
  }
  In(kNow, absl::Milliseconds(50), life, [this, life] { ProcessEnds(life, SIGKILL); });
}

void World::Panic(Life* life) {
  Decide(life, endings::kGuestPanics);
  const bool newer = life->major >= 4;
  if (!newer || !random_->OneIn(4)) {  // an old panic device leaves only the reason
    SendEvent(life, Report::Kind::kPanic, "GUEST_PANICKED", "{\"action\": \"poweroff\"}",
              "poweroff");
  }
  if (newer || random_->OneIn(2)) SendShutdown(life, "guest-panic");
  Leave(life);
}

void World::PanicPauseQuit(Life* life) {
  Decide(life, endings::kGuestPanics);
  SendEvent(life, Report::Kind::kPanic, "GUEST_PANICKED", "{\"action\": \"pause\"}", "pause");
  Pause(life, "guest-panicked");
  In(kNow, absl::Minutes(1), life, [this, life] { ShutDown(life, "host-qmp-quit"); });
}

void World::RebootExit(Life* life) {
  if (!life->no_reboot) return NextStep(life);
  if (random_->OneIn(3)) {
    Decide(life, endings::kSystemReset);
    SendShutdown(life, "host-qmp-system-reset");
  } else if (random_->OneIn(3)) {
    Decide(life, endings::kGuestPanics);
    SendEvent(life, Report::Kind::kPanic, "GUEST_PANICKED", "{\"action\": \"run\"}", "run");
    SendShutdown(life, "guest-reset");
  } else {
    if (PressIsBorderline(*life, now())) return NextStep(life);
    const bool pressed = life->major < 4 && now() - life->pressed <= kWindow;
    Decide(life, pressed ? endings::kGuestRebootsAfterPress : endings::kGuestReboots);
    SendShutdown(life, "guest-reset");
  }
  Leave(life);
}

void World::WatchdogPoweroff(Life* life) {
  Decide(life, endings::kWatchdogExpires);
  SendEvent(life, Report::Kind::kWatchdog, "WATCHDOG", "{\"action\": \"poweroff\"}", "poweroff");
  Leave(life);
}

void World::WatchdogShutdown(Life* life) {
  Decide(life, endings::kWatchdogPresses);
  SendEvent(life, Report::Kind::kWatchdog, "WATCHDOG", "{\"action\": \"shutdown\"}", "shutdown");
  SendEvent(life, Report::Kind::kPowerdown, "POWERDOWN", "");
  In(kNow, absl::Seconds(20), life, [this, life] { ShutDown(life, "guest-shutdown"); });
}

// The watchdog pauses the guest, and somebody ends QEMU then.
void World::WatchdogPauseQuit(Life* life) {
  Decide(life, endings::kWatchdogExpires);
  SendEvent(life, Report::Kind::kWatchdog, "WATCHDOG", "{\"action\": \"pause\"}", "pause");
  Pause(life, "watchdog");
  In(kNow, absl::Seconds(30), life, [this, life] { ShutDown(life, "host-qmp-quit"); });
}

void World::Hibernate(Life* life) {
  if (now() - life->pressed < kWindow + absl::Minutes(1)) return NextStep(life);
  Decide(life, endings::kGuestHibernates);
  SendEvent(life, Report::Kind::kHibernate, "SUSPEND_DISK", "");
  ShutDown(life, "guest-shutdown");
}

void World::Migrate(Life* life) {
  Pause(life, "finish-migrate");
  In(kNow, absl::Milliseconds(4), life, [this, life] {
    Decide(life, endings::kMigrated);
    life->run_state = "postmigrate";
    In(absl::Milliseconds(1), absl::Seconds(30), life,
       [this, life] { ShutDown(life, "host-qmp-quit"); });
  });
}

// Kills it while a migration finishes: nobody here knows whether the last pages had arrived.
void World::KilledAsItMigrates(Life* life) {
  Pause(life, "finish-migrate");
  In(kNow, absl::Milliseconds(60), life, [this, life] {
    Decide(life, endings::kKilledInMigration);
    HostKills(life);
  });
}

void World::HostError(Life* life) {
  if (life->major < 4) return NextStep(life);
  Decide(life, endings::kHostFails);
  ShutDown(life, "host-error");
}

void World::WindowClosed(Life* life) {
  Decide(life, endings::kWindowClosed);
  ShutDown(life, "host-ui");
}

void World::ExitsSilently(Life* life) {
  Decide(life, endings::kExitsSilently);
  Leave(life);
}

}  // namespace vmeventd::simulation
