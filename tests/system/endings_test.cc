// Every end of a VM that docs/internals/qemu.md lists and that can be produced, on real QEMU, and
// vmeventd's verdict on it.

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/support/boot_sector.h"
#include "tests/support/child_process.h"
#include "tests/support/guest.h"
#include "tests/support/qemu_command.h"
#include "tests/system/daemon_waits.h"
#include "tests/system/e2e_test.h"
#include "tests/system/test_names.h"
#include "tests/system/vm_end.h"

namespace vmeventd::e2e {
namespace {

// The objects that an ending's steps use.
struct Scene {
  Guest& guest;
  EventStream& stream;
  Daemon& daemon;

  void Manager(const std::string& command) const { guest.manager().Execute(command); }
  void Panic() const { guest.Panic(); }
  void StarveWatchdog() const { guest.StarveWatchdog(); }
  // Waits for an event of the VM and checks the state that follows from it.
  void Expect(v1::EventType type, v1::VmState state) const {
    const v1::Event event = stream.Wait(guest.name(), type);
    const v1::Vm vm = daemon.GetVm(guest.name());
    EXPECT_EQ(v1::VmState_Name(vm.state()), v1::VmState_Name(state));
    EXPECT_GE(vm.last_sequence(), event.sequence());
  }
};

struct Ending {
  std::string name;
  VmEnd end;
  std::function<void(const Scene&)> steps;
  std::string between;  // the events after STARTED and before STOPPED
  std::vector<std::string> qemu_arguments = {};
  GuestOptions guest = {};
  std::vector<std::string> daemon_arguments = {};
};

void PrintTo(const Ending& ending, std::ostream* out) { *out << ending.name; }

constexpr VmEnd kGuestHibernate = {v1::SHUTDOWN_CLASS_USER, v1::SHUTDOWN_CAUSE_GUEST_HIBERNATE};
constexpr VmEnd kHostResetExit = {v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_RESET_EXIT};
constexpr VmEnd kWatchdog = {v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_WATCHDOG};

const GuestOptions kIgnoresPowerButton = {.obeys_power_button = false};
// Stands for the watchdog device for which the guest has a driver.
constexpr char kWatchdogDevice[] = "WATCHDOG";

const std::vector<std::string> kNone;
const std::vector<std::string> kNoReboot = {"-no-reboot"};
const std::vector<std::string> kNoShutdown = {"-no-shutdown"};
const std::vector<std::string> kPvpanic = {"-device", "pvpanic"};

std::vector<std::string> PanicAction(const std::string& action,
                                     const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"-device", "pvpanic", "-action", "panic=" + action};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::vector<std::string> WatchdogAction(const std::string& action,
                                        const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"-device", kWatchdogDevice, "-action",
                                        "watchdog=" + action};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

void PowerOff(const Scene& scene) { scene.guest.PowerOff(); }
void Reboot(const Scene& scene) { scene.guest.Reboot(); }
void PressPowerButton(const Scene& scene) { scene.Manager("system_powerdown"); }
void ExpectPowerdown(const Scene& scene) {
  scene.Expect(v1::EVENT_TYPE_POWERDOWN_REQUESTED, v1::VM_STATE_RUNNING);
}
void ExpectDown(const Scene& scene) {
  scene.Expect(v1::EVENT_TYPE_GUEST_SHUTDOWN, v1::VM_STATE_GUEST_DOWN);
}
void ExpectPanic(const Scene& scene) {
  scene.Expect(v1::EVENT_TYPE_GUEST_PANICKED, v1::VM_STATE_RUNNING);
}
void Quit(const Scene& scene) { scene.Manager("quit"); }
void SystemReset(const Scene& scene) { scene.Manager("system_reset"); }
std::function<void(const Scene&)> Kill(int signal) {
  return [signal](const Scene& scene) { scene.guest.Signal(signal); };
}
void PanicAndWaitForPause(const Scene& scene) {
  scene.Panic();
  scene.Expect(v1::EVENT_TYPE_PAUSED, v1::VM_STATE_GUEST_DOWN);
}
void PowerOffAndStay(const Scene& scene) {
  PowerOff(scene);
  ExpectDown(scene);
}
void StarveAndWaitForPause(const Scene& scene) {
  scene.StarveWatchdog();
  scene.Expect(v1::EVENT_TYPE_PAUSED, v1::VM_STATE_PAUSED);
}
void Stop(const Scene& scene) {
  scene.Manager("stop");
  scene.Expect(v1::EVENT_TYPE_PAUSED, v1::VM_STATE_PAUSED);
}
// Waits until the daemon has asked for the run state, 10 ms after the STOP. Until the answer, the
// STOP may have been the end of a migration.
void LetItBeAsked(const Scene& /*scene*/) { absl::SleepFor(absl::Seconds(1)); }
void Continue(const Scene& scene) {
  scene.Manager("cont");
  scene.Expect(v1::EVENT_TYPE_RESUMED, v1::VM_STATE_RUNNING);
}
void ResetAndContinue(const Scene& scene) {
  SystemReset(scene);
  scene.Manager("cont");
  scene.guest.WaitReady();
  scene.Expect(v1::EVENT_TYPE_RESUMED, v1::VM_STATE_RUNNING);
}
void WaitReset(const Scene& scene) {
  scene.guest.WaitReady();
  scene.Expect(v1::EVENT_TYPE_RESET, v1::VM_STATE_RUNNING);
}
void Migrate(const Scene& scene) {
  scene.guest.manager().Execute("migrate", {{"uri", "exec:cat >/dev/null"}});
  WaitUntilMigratedAway(scene.daemon, scene.guest.name());
}

// Runs one step after the other.
template <typename... Steps>
std::function<void(const Scene&)> Then(Steps... steps) {
  return [=](const Scene& scene) { (std::invoke(steps, scene), ...); };
}

const std::vector<Ending>& Endings() {
  static const auto* const kEndings = new std::vector<Ending>{
      // Endings from inside the guest.
      {"GuestPoweroff", kGuestPoweroff, PowerOff},
      {.name = "GuestPoweroffOnAPrettyMonitor",
       .end = kGuestPoweroff,
       .steps = PowerOff,
       .guest = {.monitor = {"-qmp-pretty", "unix:PATH,server,nowait"}}},
      {.name = "StopContinueThenPoweroffOnAPrettyMonitor",
       .end = kGuestPoweroff,
       .steps = Then(Stop, Continue, PowerOff),
       .between = "PAUSED RESUMED",
       .guest = {.monitor = {"-chardev", "socket,id=events,path=PATH,server=on,wait=off", "-mon",
                             "chardev=events,mode=control,pretty=on"}}},
      {"GuestPoweroffBySysrq",
       kGuestPoweroff,
       [](const Scene& scene) { scene.guest.Type("echo o > /proc/sysrq-trigger"); },
       "",
       kNone,
       {.boot = Boot::kLinux}},
      {"GuestRebootUnderNoReboot", kGuestRebootExit, Reboot, "", kNoReboot},
      {"GuestRebootThenPoweroff", kGuestPoweroff, Then(Reboot, WaitReset, PowerOff), "RESET"},
      {"GuestHibernates", kGuestHibernate, [](const Scene& scene) { scene.guest.Hibernate(); },
       "HIBERNATING"},
      {"GuestSleepsAndWakesThenPoweroff",
       kGuestPoweroff,
       [](const Scene& scene) {
         scene.guest.Type("echo mem > /sys/power/state; echo AWA\"\"KE");
         scene.Expect(v1::EVENT_TYPE_SUSPENDED, v1::VM_STATE_SUSPENDED);
         scene.Manager("system_wakeup");
         scene.Expect(v1::EVENT_TYPE_WOKEN, v1::VM_STATE_RUNNING);
         scene.guest.WaitOutput("AWAKE");
         PowerOff(scene);
       },
       "SUSPENDED WOKEN",
       kNone,
       {.boot = Boot::kLinuxFromBios}},
      {"QuitWhileTheGuestSleeps", kHostQuit,
       [](const Scene& scene) {
         scene.guest.Suspend();
         scene.Expect(v1::EVENT_TYPE_SUSPENDED, v1::VM_STATE_SUSPENDED);
         Quit(scene);
       },
       "SUSPENDED"},

      // Endings by the host.
      {"PowerdownObeyed", kHostPowerdown, PressPowerButton, "POWERDOWN_REQUESTED"},
      {"PowerdownIgnoredThenPoweroff",
       kGuestPoweroff,
       Then(
           PressPowerButton, ExpectPowerdown,
           [](const Scene&) { absl::SleepFor(absl::Milliseconds(1100)); }, PowerOff),
       "POWERDOWN_REQUESTED",
       kNone,
       kIgnoresPowerButton,
       {"--powerdown-window", "1s"}},
      {"PowerdownIgnoredThenQuit", kHostQuit, Then(PressPowerButton, Quit), "POWERDOWN_REQUESTED",
       kNone, kIgnoresPowerButton},
      {"PowerdownThenRebootThenPoweroff", kGuestPoweroff,
       Then(PressPowerButton, Reboot, WaitReset, PowerOff), "POWERDOWN_REQUESTED RESET", kNone,
       kIgnoresPowerButton},
      {"Quit", kHostQuit, Quit},
      {"QuitByHumanMonitor", kHostQuit,
       [](const Scene& scene) {
         scene.guest.manager().Execute("human-monitor-command", {{"command-line", "quit"}});
       }},
      {"Sigterm", kHostSignal, Kill(SIGTERM)},
      {"Sigint", kHostSignal, Kill(SIGINT)},
      {"Sighup", kHostSignal, Kill(SIGHUP)},
      {"SystemResetUnderNoReboot", kHostResetExit, SystemReset, "", kNoReboot},
      {"SystemResetThenPoweroff", kGuestPoweroff, Then(SystemReset, WaitReset, PowerOff), "RESET"},
      {"StopThenQuit", kHostQuit, Then(Stop, Quit), "PAUSED"},
      {"StopThenSigterm", kHostSignal, Then(Stop, Kill(SIGTERM)), "PAUSED"},
      {"StopContinueThenPoweroff", kGuestPoweroff, Then(Stop, Continue, PowerOff),
       "PAUSED RESUMED"},
      {"MigratedAwayThenQuit", kMigratedAway, Then(Migrate, Quit), "PAUSED"},
      {"MigratedAwayThenSigterm", kMigratedAway, Then(Migrate, Kill(SIGTERM)), "PAUSED"},

      // -no-shutdown: the first cause wins.
      {"NoShutdownPoweroffThenQuit", kGuestPoweroff, Then(PowerOffAndStay, Quit), "GUEST_SHUTDOWN",
       kNoShutdown},
      {"NoShutdownPoweroffThenSigterm", kGuestPoweroff, Then(PowerOffAndStay, Kill(SIGTERM)),
       "GUEST_SHUTDOWN", kNoShutdown},
      {"NoShutdownPoweroffThenSigkill", kGuestPoweroff, Then(PowerOffAndStay, Kill(SIGKILL)),
       "GUEST_SHUTDOWN", kNoShutdown},
      {"NoShutdownPowerdownThenQuit", kHostPowerdown, Then(PressPowerButton, ExpectDown, Quit),
       "POWERDOWN_REQUESTED GUEST_SHUTDOWN", kNoShutdown},
      {"NoShutdownPoweroffThenResetAndContinueThenQuit", kHostQuit,
       Then(PowerOffAndStay, ResetAndContinue, Quit), "GUEST_SHUTDOWN RESET RESUMED", kNoShutdown},
      {"NoShutdownNoRebootRebootThenQuit",
       kGuestRebootExit,
       Then(Reboot, ExpectDown, Quit),
       "GUEST_SHUTDOWN",
       {"-no-shutdown", "-no-reboot"}},
      {"NoShutdownPanicThenQuit",
       kGuestPanic,
       Then(PanicAndWaitForPause, Quit),
       "GUEST_PANICKED PAUSED",
       {"-device", "pvpanic", "-no-shutdown"}},
      {"NoShutdownQuit", kHostQuit, Quit, "", kNoShutdown},

      // Crashes.
      {"Sigkill", kUnobserved, Kill(SIGKILL)},
      {"Sigsegv", kQemuCrashed, Kill(SIGSEGV)},
      {"Sigabrt", kQemuCrashed, Kill(SIGABRT)},
      {"StopThenSigkill", kUnobserved, Then(Stop, LetItBeAsked, Kill(SIGKILL)), "PAUSED"},
      {"PowerdownIgnoredThenSigkill", kUnobserved,
       // QEMU says that the button was pressed after it has answered: a SIGKILL may come before.
       Then(PressPowerButton, ExpectPowerdown, Kill(SIGKILL)), "POWERDOWN_REQUESTED", kNone,
       kIgnoresPowerButton},
      {"Panic", kGuestPanic, &Scene::Panic, "GUEST_PANICKED", kPvpanic},
      {"PanicByPciDevice",
       kGuestPanic,
       &Scene::Panic,
       "GUEST_PANICKED",
       {"-device", "pvpanic-pci"},
       {.boot = Boot::kLinux}},
      {"PanicExitFailure", kGuestPanic, &Scene::Panic, "GUEST_PANICKED",
       PanicAction("exit-failure")},
      {"PanicPausesThenQuit", kGuestPanic, Then(PanicAndWaitForPause, Quit),
       "GUEST_PANICKED PAUSED", PanicAction("pause")},
      {"PanicPausesThenSigterm", kGuestPanic, Then(PanicAndWaitForPause, Kill(SIGTERM)),
       "GUEST_PANICKED PAUSED", PanicAction("pause")},
      {"PanicPausesThenResetAndContinueThenPoweroff", kGuestPoweroff,
       Then(PanicAndWaitForPause, ResetAndContinue, PowerOff),
       "GUEST_PANICKED PAUSED RESET RESUMED", PanicAction("pause")},
      {"PanicRebootsUnderNoReboot",
       kGuestPanic,
       &Scene::Panic,
       "GUEST_PANICKED",
       PanicAction("none", {"-no-reboot"}),
       {.reboots_after_panic = true}},
      {"PanicRebootsThenPoweroff",
       kGuestPoweroff,
       Then(&Scene::Panic, WaitReset, PowerOff),
       "GUEST_PANICKED RESET",
       PanicAction("none"),
       {.reboots_after_panic = true}},
      {"PanicHangsThenSigkill", kGuestPanic, Then(&Scene::Panic, ExpectPanic, Kill(SIGKILL)),
       "GUEST_PANICKED", PanicAction("none")},
      {"WatchdogPowersOff", kWatchdog, &Scene::StarveWatchdog, "WATCHDOG_EXPIRED",
       WatchdogAction("poweroff")},
      {"WatchdogShutsDown", kWatchdog, &Scene::StarveWatchdog,
       "WATCHDOG_EXPIRED POWERDOWN_REQUESTED", WatchdogAction("shutdown")},
      {"WatchdogResetsUnderNoReboot", kWatchdog, &Scene::StarveWatchdog, "WATCHDOG_EXPIRED",
       WatchdogAction("reset", {"-no-reboot"})},
      {"WatchdogResetsThenQuit", kHostQuit, Then(&Scene::StarveWatchdog, WaitReset, Quit),
       "WATCHDOG_EXPIRED RESET", WatchdogAction("reset")},
      {"WatchdogPausesThenQuit", kWatchdog, Then(StarveAndWaitForPause, Quit),
       "WATCHDOG_EXPIRED PAUSED", WatchdogAction("pause")},
      {"WatchdogPausesThenContinueThenPoweroff", kGuestPoweroff,
       Then(StarveAndWaitForPause, Continue, PowerOff), "WATCHDOG_EXPIRED PAUSED RESUMED",
       WatchdogAction("pause")},
      {"WatchdogIsOnlyToldThenPoweroff", kGuestPoweroff,
       [](const Scene& scene) {
         scene.StarveWatchdog();
         scene.Expect(v1::EVENT_TYPE_WATCHDOG_EXPIRED, v1::VM_STATE_RUNNING);
         PowerOff(scene);
       },
       "WATCHDOG_EXPIRED", WatchdogAction("none")},
  };
  return *kEndings;
}

class EndingTest : public E2eTest, public testing::WithParamInterface<Ending> {
 protected:
  // Ends a guest as the parameter says, and checks all that is published. `linux`: in place of the
  // boot sector.
  void CheckEnding(bool linux);

  // Expects exactly one STOPPED, as the run's last event, and all events in order. The daemon sends
  // everything it has seen before it ends, so what is missing then is lost.
  void ExpectWholeRun(const std::string& name) {
    daemon().Signal(SIGTERM);
    EXPECT_EQ(stream().WaitEnd().error_code(), grpc::StatusCode::UNAVAILABLE);
    const std::string between = GetParam().between;
    // After a reset the firmware may reset the machine again (docs/internals/qemu.md), as soon as
    // it runs. Until then the reason of a pause is another one, if QEMU is asked for it in time.
    std::vector<v1::Event> events;
    bool was_reset = false;
    bool firmware_runs = false;
    for (const v1::Event& event : stream().EventsOf(name)) {
      const bool is_reset = event.type() == v1::EVENT_TYPE_RESET;
      const bool is_new_reason = event.type() == v1::EVENT_TYPE_STATE_CHANGED && was_reset &&
                                 event.state() == v1::VM_STATE_PAUSED;
      if (!is_new_reason && (!is_reset || !firmware_runs)) events.push_back(event);
      was_reset = is_reset;
      firmware_runs = is_reset || (firmware_runs && event.type() == v1::EVENT_TYPE_RESUMED);
    }
    EXPECT_EQ(TypesOf(events), "STARTED " + (between.empty() ? "" : between + " ") + "STOPPED");
  }
};

void EndingTest::CheckEnding(bool linux) {
  const Ending& ending = GetParam();
  const bool by_user = ending.end.shutdown_class == v1::SHUTDOWN_CLASS_USER;
  StartDaemonAndStream(Options(ending.daemon_arguments));
  GuestOptions options = ending.guest;
  if (linux && options.boot == Boot::kSector) options.boot = Boot::kLinuxFromBios;
  options.arguments = ending.qemu_arguments;
  std::replace(options.arguments.begin(), options.arguments.end(), std::string(kWatchdogDevice),
               Guest::WatchdogDevice(options.boot));
  const auto guest = StartGuest(options);
  if (!by_user) Touch(guest->shutdown_file());  // left by an earlier run: it must be removed
  stream().Wait(guest->name(), v1::EVENT_TYPE_STARTED);

  ending.steps({*guest, stream(), daemon()});

  const v1::Event stopped = ExpectStopped(ending.end);
  guest->WaitExit();
  const v1::ShutdownDetail& detail = stopped.shutdown();
  EXPECT_NE(detail.rule(), "");
  EXPECT_THAT(detail.evidence(), testing::Not(testing::IsEmpty()));
  EXPECT_NE(stopped.message(), "");
  EXPECT_EQ(stopped.vm().pid(), guest->pid());
  EXPECT_EQ(stopped.vm().uuid(), guest->uuid());
  EXPECT_EQ(FileAtStop(guest->name()), by_user);
  EXPECT_EQ(detail.shutdown_file_written(), by_user);

  const v1::Vm vm = daemon().GetVm(guest->name());
  EXPECT_EQ(v1::VmState_Name(vm.state()), "VM_STATE_STOPPED");
  EXPECT_EQ(vm.shutdown().ShortDebugString(), detail.ShortDebugString());
  EXPECT_EQ(vm.last_sequence(), stopped.sequence());
  ExpectWholeRun(guest->name());
}

TEST_P(EndingTest, IsClassifiedRight) { CheckEnding(/*linux=*/false); }

INSTANTIATE_TEST_SUITE_P(Endings, EndingTest, testing::ValuesIn(Endings()), kByName);

// The endings that a boot sector has above, of guests that run Linux.
class LinuxEndingTest : public EndingTest {};

TEST_P(LinuxEndingTest, IsClassifiedRight) { CheckEnding(/*linux=*/true); }

INSTANTIATE_TEST_SUITE_P(Endings, LinuxEndingTest, testing::ValuesIn(Endings()), kByName);

std::pair<int, int> QemuVersion() {
  const std::string text = RunCommand({.arguments = {"qemu-system-x86_64", "--version"}}).output;
  std::pair<int, int> version;
  std::sscanf(text.c_str(), "QEMU emulator version %d.%d", &version.first, &version.second);
  return version;
}

// Guests without an operating system, which report at once what few guests report.
class BareGuestEndingTest : public E2eTest {
 protected:
  // The end of a guest with `options`, which runs once it is followed.
  v1::Event EndOf(GuestOptions options) {
    StartDaemonAndStream();
    options.boot = Boot::kNothing;
    options.arguments.push_back("-S");
    const auto guest = StartGuest(options);
    stream().Wait(guest->name(), v1::EVENT_TYPE_STARTED);
    guest->manager().Execute("cont");
    return WaitStopped();
  }
};

TEST_F(BareGuestEndingTest, AShutdownByThePvpanicDeviceIsClassifiedAsUser) {
  if (QemuVersion() < std::pair(9, 1)) GTEST_SKIP() << "takes QEMU 9.1";
  std::ofstream(dir() / "boot.img", std::ios::binary) << BootSector({
      0xba, 0x05, 0x05,  // mov dx, 0x505: pvpanic
      0xb0, 0x04,        // mov al, 4: shutdown
      0xee,              // out dx, al
      0xf4, 0xeb, 0xfd,  // stop: hlt; jmp stop
  });
  const std::string drive = "if=ide,format=raw,file=" + (dir() / "boot.img");
  ExpectEnd(
      EndOf({.arguments = {"-machine", "pc", "-m", "16", "-device", "pvpanic", "-drive", drive}}),
      kGuestPoweroff);
  EXPECT_EQ(TypesOf(stream().EventsOf("vm1")), "STARTED RESUMED PVSHUTDOWN_REQUESTED STOPPED");
}

TEST_F(BareGuestEndingTest, TheDetailsOfAnS390PanicAreInTheEnd) {
  const char* const kProgram = "qemu-system-s390x";
  if (RunCommand({.arguments = {"which", kProgram}}).exit_code != 0) GTEST_SKIP() << kProgram;
  GuestOptions options;
  options.program = kProgram;
  // Its firmware finds nothing to boot, and waits with interrupts off. A Linux that panics ends in
  // the same way.
  options.arguments = {"-machine", "s390-ccw-virtio", "-m", "128", "-action", "panic=shutdown"};
  const v1::Event stopped = EndOf(options);
  ExpectEnd(stopped, kGuestPanic);
  const v1::GuestPanic& panic = stopped.shutdown().panic();
  EXPECT_EQ(panic.action(), "poweroff");
  ASSERT_TRUE(panic.has_s390()) << panic.DebugString();
  EXPECT_EQ(panic.s390().reason(), "disabled-wait");
  EXPECT_EQ(panic.s390().psw_mask(), 0x2000180000000U);
  EXPECT_EQ(stream().Wait("vm1", v1::EVENT_TYPE_GUEST_PANICKED).panic().DebugString(),
            panic.DebugString());
}

}  // namespace
}  // namespace vmeventd::e2e
