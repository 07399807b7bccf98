// Every end of a VM that docs/qemu.md lists and that can be produced, on real QEMU, and vmeventd's
// verdict on it.

#include <sys/stat.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "tests/support/child_process.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

// The objects that an ending's steps use.
struct Scene {
  Guest& guest;
  EventStream& stream;
  Daemon& daemon;

  void Manager(const std::string& command) const { guest.manager().Execute(command); }
  void Panic() const { guest.Type("echo c > /proc/sysrq-trigger"); }
  // Opens the watchdog and feeds it too rarely.
  void StarveWatchdog() const { guest.Type("watchdog -T 2 -t 100 -F /dev/watchdog"); }
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
  v1::ShutdownClass shutdown_class;
  v1::ShutdownCause cause;
  std::function<void(const Scene&)> steps;
  std::string between;  // the events after STARTED and before STOPPED
  std::vector<std::string> qemu_arguments = {};
  std::string kernel_arguments;
  Boot boot = Boot::kLinux;
  std::vector<std::string> daemon_arguments = {};
};

void PrintTo(const Ending& ending, std::ostream* out) { *out << ending.name; }

const std::vector<std::string> kPvpanic = {"-device", "pvpanic"};

std::vector<std::string> PanicAction(const std::string& action,
                                     const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"-device", "pvpanic", "-action", "panic=" + action};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::vector<std::string> WatchdogAction(const std::string& action,
                                        const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"-device", "i6300esb", "-action", "watchdog=" + action};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

void PowerOff(const Scene& scene) { scene.guest.Type("poweroff -f"); }
void Reboot(const Scene& scene) { scene.guest.Type("reboot -f"); }
void PressPowerButton(const Scene& scene) { scene.Manager("system_powerdown"); }
void ExpectPowerdown(const Scene& scene) {
  scene.Expect(v1::EVENT_TYPE_POWERDOWN_REQUESTED, v1::VM_STATE_RUNNING);
}
void Quit(const Scene& scene) { scene.Manager("quit"); }
std::function<void(const Scene&)> Kill(int signal) {
  return [signal](const Scene& scene) { scene.guest.Signal(signal); };
}
void PanicAndWaitForPause(const Scene& scene) {
  scene.Panic();
  scene.Expect(v1::EVENT_TYPE_PAUSED, v1::VM_STATE_GUEST_DOWN);
}
void PowerOffAndStay(const Scene& scene) {
  scene.guest.Type("poweroff -f");
  scene.Expect(v1::EVENT_TYPE_GUEST_SHUTDOWN, v1::VM_STATE_GUEST_DOWN);
}
void StarveAndWaitForPause(const Scene& scene) {
  scene.StarveWatchdog();
  scene.Expect(v1::EVENT_TYPE_PAUSED, v1::VM_STATE_PAUSED);
}
void Stop(const Scene& scene) {
  scene.Manager("stop");
  scene.Expect(v1::EVENT_TYPE_PAUSED, v1::VM_STATE_PAUSED);
}
void Continue(const Scene& scene) {
  scene.Manager("cont");
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
      // From inside the guest.
      {"GuestPoweroff", v1::SHUTDOWN_CLASS_USER, v1::SHUTDOWN_CAUSE_GUEST_POWEROFF, PowerOff},
      {"GuestPoweroffBySysrq", v1::SHUTDOWN_CLASS_USER, v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       [](const Scene& scene) { scene.guest.Type("echo o > /proc/sysrq-trigger"); }},
      {"GuestRebootUnderNoReboot",
       v1::SHUTDOWN_CLASS_USER,
       v1::SHUTDOWN_CAUSE_GUEST_REBOOT_EXIT,
       Reboot,
       "",
       {"-no-reboot"}},
      {"GuestRebootThenPoweroff", v1::SHUTDOWN_CLASS_USER, v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       Then(Reboot, WaitReset, PowerOff), "RESET"},
      {"GuestHibernates", v1::SHUTDOWN_CLASS_USER, v1::SHUTDOWN_CAUSE_GUEST_HIBERNATE,
       // PM1a_CNT of the i440fx: SLP_EN, and S4 as the sleep type.
       [](const Scene& scene) { scene.guest.Type("outw 0x604 0x2800"); }, "HIBERNATING"},
      {"GuestSleepsAndWakesThenPoweroff",
       v1::SHUTDOWN_CLASS_USER,
       v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       [](const Scene& scene) {
         scene.guest.Type("echo mem > /sys/power/state; echo AWA\"\"KE");
         scene.Expect(v1::EVENT_TYPE_SUSPENDED, v1::VM_STATE_SUSPENDED);
         scene.Manager("system_wakeup");
         scene.Expect(v1::EVENT_TYPE_WOKEN, v1::VM_STATE_RUNNING);
         scene.guest.WaitOutput("AWAKE");
         PowerOff(scene);
       },
       "SUSPENDED WOKEN",
       {},
       "",
       Boot::kLinuxFromBios},
      {"QuitWhileTheGuestSleeps", v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_QUIT,
       [](const Scene& scene) {
         scene.guest.Type("echo mem > /sys/power/state");
         scene.Expect(v1::EVENT_TYPE_SUSPENDED, v1::VM_STATE_SUSPENDED);
         Quit(scene);
       },
       "SUSPENDED"},

      // From the host.
      {"PowerdownObeyed", v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_POWERDOWN,
       PressPowerButton, "POWERDOWN_REQUESTED"},
      {"PowerdownIgnoredThenPoweroff",
       v1::SHUTDOWN_CLASS_USER,
       v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       [](const Scene& scene) {
         PressPowerButton(scene);
         scene.Expect(v1::EVENT_TYPE_POWERDOWN_REQUESTED, v1::VM_STATE_RUNNING);
         scene.guest.Type("sleep 4; poweroff -f");
       },
       "POWERDOWN_REQUESTED",
       {},
       "ignore_powerdown",
       Boot::kLinux,
       {"--powerdown-window", "3s"}},
      {"PowerdownIgnoredThenQuit",
       v1::SHUTDOWN_CLASS_ADMIN,
       v1::SHUTDOWN_CAUSE_HOST_QUIT,
       Then(PressPowerButton, Quit),
       "POWERDOWN_REQUESTED",
       {},
       "ignore_powerdown"},
      {"PowerdownThenRebootThenPoweroff",
       v1::SHUTDOWN_CLASS_USER,
       v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       Then(PressPowerButton, Reboot, WaitReset, PowerOff),
       "POWERDOWN_REQUESTED RESET",
       {},
       "ignore_powerdown"},
      {"Quit", v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_QUIT, Quit},
      {"QuitByHumanMonitor", v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_QUIT,
       [](const Scene& scene) {
         scene.guest.manager().Execute("human-monitor-command", {{"command-line", "quit"}});
       }},
      {"Sigterm", v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_SIGNAL, Kill(SIGTERM)},
      {"Sigint", v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_SIGNAL, Kill(SIGINT)},
      {"Sighup", v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_SIGNAL, Kill(SIGHUP)},
      {"SystemResetUnderNoReboot",
       v1::SHUTDOWN_CLASS_ADMIN,
       v1::SHUTDOWN_CAUSE_HOST_RESET_EXIT,
       [](const Scene& scene) { scene.Manager("system_reset"); },
       "",
       {"-no-reboot"}},
      {"SystemResetThenPoweroff", v1::SHUTDOWN_CLASS_USER, v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       [](const Scene& scene) {
         scene.Manager("system_reset");
         WaitReset(scene);
         PowerOff(scene);
       },
       "RESET"},
      {"StopThenQuit", v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_QUIT, Then(Stop, Quit),
       "PAUSED"},
      {"StopThenSigterm", v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_SIGNAL,
       Then(Stop, Kill(SIGTERM)), "PAUSED"},
      {"StopContinueThenPoweroff", v1::SHUTDOWN_CLASS_USER, v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       Then(Stop, Continue, PowerOff), "PAUSED RESUMED"},
      {"MigratedAwayThenQuit", v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_MIGRATED_AWAY,
       Then(Migrate, Quit), "PAUSED"},
      {"MigratedAwayThenSigterm", v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_MIGRATED_AWAY,
       Then(Migrate, Kill(SIGTERM)), "PAUSED"},

      // -no-shutdown: the first cause wins.
      {"NoShutdownPoweroffThenQuit",
       v1::SHUTDOWN_CLASS_USER,
       v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       Then(PowerOffAndStay, Quit),
       "GUEST_SHUTDOWN",
       {"-no-shutdown"}},
      {"NoShutdownPoweroffThenSigterm",
       v1::SHUTDOWN_CLASS_USER,
       v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       Then(PowerOffAndStay, Kill(SIGTERM)),
       "GUEST_SHUTDOWN",
       {"-no-shutdown"}},
      {"NoShutdownPoweroffThenSigkill",
       v1::SHUTDOWN_CLASS_USER,
       v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       Then(PowerOffAndStay, Kill(SIGKILL)),
       "GUEST_SHUTDOWN",
       {"-no-shutdown"}},
      {"NoShutdownPowerdownThenQuit",
       v1::SHUTDOWN_CLASS_ADMIN,
       v1::SHUTDOWN_CAUSE_HOST_POWERDOWN,
       [](const Scene& scene) {
         PressPowerButton(scene);
         scene.Expect(v1::EVENT_TYPE_GUEST_SHUTDOWN, v1::VM_STATE_GUEST_DOWN);
         Quit(scene);
       },
       "POWERDOWN_REQUESTED GUEST_SHUTDOWN",
       {"-no-shutdown"}},
      {"NoShutdownPoweroffThenResetAndContinueThenQuit",
       v1::SHUTDOWN_CLASS_ADMIN,
       v1::SHUTDOWN_CAUSE_HOST_QUIT,
       [](const Scene& scene) {
         PowerOffAndStay(scene);
         scene.Manager("system_reset");
         scene.Manager("cont");
         scene.guest.WaitReady();
         scene.Expect(v1::EVENT_TYPE_RESUMED, v1::VM_STATE_RUNNING);
         Quit(scene);
       },
       "GUEST_SHUTDOWN RESET RESUMED",
       {"-no-shutdown"}},
      {"NoShutdownNoRebootRebootThenQuit",
       v1::SHUTDOWN_CLASS_USER,
       v1::SHUTDOWN_CAUSE_GUEST_REBOOT_EXIT,
       [](const Scene& scene) {
         Reboot(scene);
         scene.Expect(v1::EVENT_TYPE_GUEST_SHUTDOWN, v1::VM_STATE_GUEST_DOWN);
         Quit(scene);
       },
       "GUEST_SHUTDOWN",
       {"-no-shutdown", "-no-reboot"}},
      {"NoShutdownPanicThenQuit",
       v1::SHUTDOWN_CLASS_CRASH,
       v1::SHUTDOWN_CAUSE_GUEST_PANIC,
       Then(PanicAndWaitForPause, Quit),
       "GUEST_PANICKED PAUSED",
       {"-device", "pvpanic", "-no-shutdown"}},
      {"NoShutdownQuit",
       v1::SHUTDOWN_CLASS_ADMIN,
       v1::SHUTDOWN_CAUSE_HOST_QUIT,
       Quit,
       "",
       {"-no-shutdown"}},

      // Crashes.
      {"Sigkill", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_QEMU_KILLED, Kill(SIGKILL)},
      {"Sigsegv", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_QEMU_CRASHED, Kill(SIGSEGV)},
      {"Sigabrt", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_QEMU_CRASHED, Kill(SIGABRT)},
      {"StopThenSigkill", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_QEMU_KILLED,
       Then(Stop, Kill(SIGKILL)), "PAUSED"},
      {"PowerdownIgnoredThenSigkill",
       v1::SHUTDOWN_CLASS_CRASH,
       v1::SHUTDOWN_CAUSE_QEMU_KILLED,
       // QEMU says that the button was pressed after it has answered: a SIGKILL may come before.
       Then(PressPowerButton, ExpectPowerdown, Kill(SIGKILL)),
       "POWERDOWN_REQUESTED",
       {},
       "ignore_powerdown"},
      {"Panic", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_GUEST_PANIC, &Scene::Panic,
       "GUEST_PANICKED", kPvpanic},
      {"PanicByPciDevice",
       v1::SHUTDOWN_CLASS_CRASH,
       v1::SHUTDOWN_CAUSE_GUEST_PANIC,
       &Scene::Panic,
       "GUEST_PANICKED",
       {"-device", "pvpanic-pci"}},
      {"PanicExitFailure", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_GUEST_PANIC, &Scene::Panic,
       "GUEST_PANICKED", PanicAction("exit-failure")},
      {"PanicPausesThenQuit", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_GUEST_PANIC,
       Then(PanicAndWaitForPause, Quit), "GUEST_PANICKED PAUSED", PanicAction("pause")},
      {"PanicPausesThenSigterm", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_GUEST_PANIC,
       Then(PanicAndWaitForPause, Kill(SIGTERM)), "GUEST_PANICKED PAUSED", PanicAction("pause")},
      {"PanicPausesThenResetAndContinueThenPoweroff", v1::SHUTDOWN_CLASS_USER,
       v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       [](const Scene& scene) {
         PanicAndWaitForPause(scene);
         scene.Manager("system_reset");
         scene.Manager("cont");
         scene.guest.WaitReady();
         scene.Expect(v1::EVENT_TYPE_RESUMED, v1::VM_STATE_RUNNING);
         PowerOff(scene);
       },
       "GUEST_PANICKED PAUSED RESET RESUMED", PanicAction("pause")},
      {"PanicRebootsUnderNoReboot", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_GUEST_PANIC,
       &Scene::Panic, "GUEST_PANICKED", PanicAction("none", {"-no-reboot"}), "panic=-1"},
      {"PanicRebootsThenPoweroff", v1::SHUTDOWN_CLASS_USER, v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       Then(&Scene::Panic, WaitReset, PowerOff), "GUEST_PANICKED RESET", PanicAction("none"),
       "panic=-1"},
      {"PanicHangsThenSigkill", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_GUEST_PANIC,
       [](const Scene& scene) {
         scene.Panic();
         scene.Expect(v1::EVENT_TYPE_GUEST_PANICKED, v1::VM_STATE_RUNNING);
         scene.guest.Signal(SIGKILL);
       },
       "GUEST_PANICKED", PanicAction("none")},
      {"WatchdogPowersOff", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_WATCHDOG,
       &Scene::StarveWatchdog, "WATCHDOG_EXPIRED", WatchdogAction("poweroff")},
      {"WatchdogShutsDown", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_WATCHDOG,
       &Scene::StarveWatchdog, "WATCHDOG_EXPIRED POWERDOWN_REQUESTED", WatchdogAction("shutdown")},
      {"WatchdogResetsUnderNoReboot", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_WATCHDOG,
       &Scene::StarveWatchdog, "WATCHDOG_EXPIRED", WatchdogAction("reset", {"-no-reboot"})},
      {"WatchdogResetsThenQuit", v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_QUIT,
       Then(&Scene::StarveWatchdog, WaitReset, Quit), "WATCHDOG_EXPIRED RESET",
       WatchdogAction("reset"), "", Boot::kLinuxFromBios},
      {"WatchdogPausesThenQuit", v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_WATCHDOG,
       Then(StarveAndWaitForPause, Quit), "WATCHDOG_EXPIRED PAUSED", WatchdogAction("pause")},
      {"WatchdogPausesThenContinueThenPoweroff", v1::SHUTDOWN_CLASS_USER,
       v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       // The watchdog's feeder occupies the shell; the power button still works.
       [](const Scene& scene) {
         scene.guest.Type("(watchdog -T 2 -t 100 -F /dev/watchdog &) ; echo FE\"\"D");
         scene.guest.WaitOutput("FED");
         scene.Expect(v1::EVENT_TYPE_PAUSED, v1::VM_STATE_PAUSED);
         Continue(scene);
         PowerOff(scene);
       },
       "WATCHDOG_EXPIRED PAUSED RESUMED", WatchdogAction("pause")},
      {"WatchdogIsOnlyToldThenPoweroff", v1::SHUTDOWN_CLASS_USER, v1::SHUTDOWN_CAUSE_GUEST_POWEROFF,
       [](const Scene& scene) {
         scene.guest.Type("(watchdog -T 2 -t 100 -F /dev/watchdog &)");
         scene.Expect(v1::EVENT_TYPE_WATCHDOG_EXPIRED, v1::VM_STATE_RUNNING);
         PowerOff(scene);
       },
       "WATCHDOG_EXPIRED", WatchdogAction("none")},
  };
  return *kEndings;
}

class EndingTest : public E2eTest, public testing::WithParamInterface<Ending> {
 protected:
  // Expects exactly one STOPPED, as the run's last event, and all events in order. The daemon sends
  // everything it has seen before it ends, so what is missing then is lost.
  void ExpectWholeRun(const std::string& name) {
    daemon().Signal(SIGTERM);
    EXPECT_EQ(stream().WaitEnd().error_code(), grpc::StatusCode::UNAVAILABLE);
    const std::string between = GetParam().between;
    // After a reset the firmware may reset the machine again (docs/qemu.md), as soon as it runs.
    std::vector<v1::Event> events;
    bool firmware_runs = false;
    for (const v1::Event& event : stream().EventsOf(name)) {
      const bool is_reset = event.type() == v1::EVENT_TYPE_RESET;
      if (!is_reset || !firmware_runs) events.push_back(event);
      firmware_runs = is_reset || (firmware_runs && event.type() == v1::EVENT_TYPE_RESUMED);
    }
    EXPECT_EQ(TypesOf(events), "STARTED " + (between.empty() ? "" : between + " ") + "STOPPED");
  }
};

TEST_P(EndingTest, HasTheRightVerdict) {
  const Ending& ending = GetParam();
  const bool by_user = ending.shutdown_class == v1::SHUTDOWN_CLASS_USER;
  DaemonOptions daemon_options = Options();
  daemon_options.arguments.insert(daemon_options.arguments.end(), ending.daemon_arguments.begin(),
                                  ending.daemon_arguments.end());
  StartDaemon(daemon_options);
  OpenStream();
  GuestOptions options;
  options.boot = ending.boot;
  options.arguments = ending.qemu_arguments;
  options.kernel_arguments = ending.kernel_arguments;
  const auto guest = StartGuest(options);
  if (!by_user) Touch(guest->shutdown_file());  // left by an earlier run: it must be removed
  stream().Wait(guest->name(), v1::EVENT_TYPE_STARTED);

  ending.steps({*guest, stream(), daemon()});

  const v1::Event stopped = stream().Wait(guest->name(), v1::EVENT_TYPE_STOPPED);
  guest->WaitExit();
  const v1::ShutdownDetail& detail = stopped.shutdown();
  EXPECT_EQ(v1::ShutdownClass_Name(detail.class_()), v1::ShutdownClass_Name(ending.shutdown_class));
  EXPECT_EQ(v1::ShutdownCause_Name(detail.cause()), v1::ShutdownCause_Name(ending.cause));
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

INSTANTIATE_TEST_SUITE_P(Endings, EndingTest, testing::ValuesIn(Endings()),
                         [](const auto& ending) { return ending.param.name; });

std::pair<int, int> QemuVersion() {
  const std::string text = RunCommand({.arguments = {"qemu-system-x86_64", "--version"}}).output;
  std::pair<int, int> version;
  std::sscanf(text.c_str(), "QEMU emulator version %d.%d", &version.first, &version.second);
  return version;
}

// Guests without an operating system, which say at once what few guests say.
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
    return stream().Wait(guest->name(), v1::EVENT_TYPE_STOPPED);
  }
};

TEST_F(BareGuestEndingTest, AShutdownByThePvpanicDeviceIsTheUsers) {
  if (QemuVersion() < std::pair(9, 1)) GTEST_SKIP() << "takes QEMU 9.1";
  std::ofstream(dir() / "boot.img", std::ios::binary) << BootSector({
      0xba, 0x05, 0x05,  // mov dx, 0x505: pvpanic
      0xb0, 0x04,        // mov al, 4: shutdown
      0xee,              // out dx, al
      0xf4, 0xeb, 0xfd,  // stop: hlt; jmp stop
  });
  GuestOptions options;
  options.arguments = {
      "-machine", "pc",      "-m",     "16",
      "-device",  "pvpanic", "-drive", "if=ide,format=raw,file=" + (dir() / "boot.img")};
  const v1::Event stopped = EndOf(options);
  EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_USER) << stopped.message();
  EXPECT_EQ(stopped.shutdown().cause(), v1::SHUTDOWN_CAUSE_GUEST_POWEROFF);
  EXPECT_EQ(TypesOf(stream().EventsOf("vm1")), "STARTED RESUMED PVSHUTDOWN_REQUESTED STOPPED");
}

TEST_F(BareGuestEndingTest, WhatAnS390GuestSaysAsItPanicsIsKeptToItsEnd) {
  const char* const kProgram = "qemu-system-s390x";
  if (RunCommand({.arguments = {"which", kProgram}}).exit_code != 0) GTEST_SKIP() << kProgram;
  GuestOptions options;
  options.program = kProgram;
  // Its firmware finds nothing to boot, and waits with interrupts off: so ends a Linux that panics.
  options.arguments = {"-machine", "s390-ccw-virtio", "-m", "128", "-action", "panic=shutdown"};
  const v1::Event stopped = EndOf(options);
  EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_CRASH) << stopped.message();
  EXPECT_EQ(stopped.shutdown().cause(), v1::SHUTDOWN_CAUSE_GUEST_PANIC);
  const v1::GuestPanic& panic = stopped.shutdown().panic();
  EXPECT_EQ(panic.action(), "poweroff");
  ASSERT_TRUE(panic.has_s390()) << panic.DebugString();
  EXPECT_EQ(panic.s390().reason(), "disabled-wait");
  EXPECT_EQ(panic.s390().psw_mask(), 0x2000180000000U);
  EXPECT_EQ(stream().Wait("vm1", v1::EVENT_TYPE_GUEST_PANICKED).panic().DebugString(),
            panic.DebugString());
}

// Panics of guests that this machine cannot run, reported by QEMU's own code.
class ForeignPanicTest : public E2eTest {
 protected:
  // The end of a guest that panics as `line` of tests/support/panics.cc says.
  v1::Event EndBy(const std::string& line) {
    const std::string fifo = dir() / "panics";
    if (mkfifo(fifo.c_str(), 0600) != 0) std::abort();
    const std::string program = dir() / "qemu";
    std::ofstream(program) << "#!/bin/sh\nPANICS='" << fifo << "' LD_PRELOAD='" << VMEVENTD_PANICS
                           << "' exec qemu-system-x86_64 \"$@\"\n";
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    StartDaemonAndStream();
    GuestOptions options;
    options.boot = Boot::kNothing;
    options.program = program;
    options.arguments = {"-action", "panic=shutdown"};
    const auto guest = StartGuest(options);
    WaitUntilAttached(daemon(), guest->name());
    std::ofstream(fifo) << line << "\n" << std::flush;
    v1::Event stopped = stream().Wait(guest->name(), v1::EVENT_TYPE_STOPPED);
    EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_CRASH) << stopped.message();
    EXPECT_EQ(stopped.shutdown().cause(), v1::SHUTDOWN_CAUSE_GUEST_PANIC);
    EXPECT_EQ(stopped.shutdown().panic().action(), "poweroff");
    EXPECT_EQ(
        stream().Wait(guest->name(), v1::EVENT_TYPE_GUEST_PANICKED).panic().ShortDebugString(),
        stopped.shutdown().panic().ShortDebugString());
    return stopped;
  }
};

TEST_F(ForeignPanicTest, WhatAWindowsSaysIsKeptToItsEnd) {
  const v1::Event stopped =
      EndBy("hyper-v 0xd1 0xffffffffffffffff 0x8000000000000000 0 0xfffff80000000001");
  EXPECT_THAT(stopped.shutdown().panic().hyper_v().args(),
              testing::ElementsAre(0xd1U, 0xffffffffffffffffU, 0x8000000000000000U, 0U,
                                   0xfffff80000000001U));
}

TEST_F(ForeignPanicTest, WhatAnS390GuestSaysIsKeptToItsEnd) {
  const v1::Event stopped = EndBy("s390 4294967295 0xffffffffffffffff 0x8000000000000000 2");
  const v1::S390Panic& panic = stopped.shutdown().panic().s390();
  EXPECT_EQ(panic.core(), 4294967295U);
  EXPECT_EQ(panic.psw_mask(), 0xffffffffffffffffU);
  EXPECT_EQ(panic.psw_addr(), 0x8000000000000000U);
  EXPECT_EQ(panic.reason(), "extint-loop");
}

TEST_F(ForeignPanicTest, WhatATdxGuestSaysIsBoundedAndOneLine) {
  if (QemuVersion() < std::pair(10, 1)) GTEST_SKIP() << "takes QEMU 10.1";
  const v1::Event stopped =
      EndBy("tdx 0xffffffff 0xfffffffffffff000 a\x1b[31m\\ \xff " + std::string(1000, 'x'));
  const v1::TdxPanic& panic = stopped.shutdown().panic().tdx();
  EXPECT_EQ(panic.error_code(), 0xffffffffU);
  EXPECT_EQ(panic.gpa(), 0xfffffffffffff000U);
  EXPECT_THAT(panic.message(), testing::StartsWith("a\\x1b[31m\\x5c"));
  EXPECT_EQ(panic.message().size(), 256U);
}

}  // namespace
}  // namespace vmeventd::e2e
