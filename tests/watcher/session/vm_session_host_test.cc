// The end of a VM whose host shuts down.

#include <csignal>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kLogind[] = "systemd-logind";

SignalSender RootProcess(int signal, absl::string_view command) {
  return {.signal = signal, .pid = 1, .uid = 0, .command = std::string(command)};
}

class VmSessionHostTest : public testing::Test {
 protected:
  VmSessionHostTest() { Begin(); }
  // Another VM, which runs.
  void Begin() {
    vm_ = std::make_unique<SessionDriver>();
    vm_->Ready();
  }
  SessionDriver& vm() { return *vm_; }
  void ShutsDown(const std::string& by = kLogind) { vm().Host(true, by); }
  void ExpectHostShutdown(const std::string& rule) {
    ExpectVerdict(vm(), ShutdownClass::kAdmin, ShutdownCause::kHostShutdown);
    EXPECT_EQ(vm().Stopped().rule, rule);
    EXPECT_THAT(vm().Stopped().caveats, IsEmpty());
    EXPECT_THAT(EvidenceOf(vm().Stopped()), HasSubstr("the host began to shut down, reported by "));
  }

 private:
  std::unique_ptr<SessionDriver> vm_;
};

TEST_F(VmSessionHostTest, WhatTheHostEndsAsItShutsDownEndsByThat) {
  for (const char* reason : {"host-signal", "host-qmp-quit", "host-ui"}) {
    Begin();
    ShutsDown();
    vm().EndBy(reason, Exited(0));
    ExpectHostShutdown("host-shutdown");
  }
}

TEST_F(VmSessionHostTest, AGuestThatObeysAPressInTheShutdownEndsByThat) {
  ShutsDown();
  vm().Event("POWERDOWN");
  vm().Advance(absl::Seconds(40));
  vm().EndBy("guest-shutdown", Exited(0));
  ExpectHostShutdown("host-shutdown");
  EXPECT_EQ(vm().Stopped().powerdown_age, absl::Seconds(40));
}

TEST_F(VmSessionHostTest, APressBeforeTheShutdownIsTheCause) {
  vm().Event("POWERDOWN");
  vm().Advance(absl::Seconds(10));
  ShutsDown();
  vm().EndBy("guest-shutdown", Exited(0));
  ExpectVerdict(vm(), ShutdownClass::kAdmin, ShutdownCause::kHostPowerdown);
}

TEST_F(VmSessionHostTest, AGuestThatPowersItselfOffInTheShutdownIsTheUsersWithACaveat) {
  ShutsDown();
  vm().EndBy("guest-shutdown", Exited(0));
  ExpectVerdict(vm(), ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  EXPECT_THAT(vm().Stopped().caveats, ElementsAre(ShutdownCaveat::kHostShuttingDown));
  EXPECT_THAT(EvidenceOf(vm().Stopped()), HasSubstr("the host began to shut down, reported by "));
}

TEST_F(VmSessionHostTest, WhereAnAgentIsConnectedTheHostHasAskedIt) {
  vm().Agent({.present = true, .open = true, .reported = true, .port = "agent0"});
  ShutsDown();
  vm().EndBy("guest-shutdown", Exited(0));
  ExpectHostShutdown("host-shutdown-agent");
  EXPECT_THAT(EvidenceOf(vm().Stopped()), HasSubstr("guest agent connected"));
}

TEST_F(VmSessionHostTest, AShutdownThatCameBeforeTheHostsIsWhatItWas) {
  vm().Shutdown("guest-shutdown");
  ShutsDown();
  vm().End(Exited(0));
  ExpectVerdict(vm(), ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  EXPECT_THAT(vm().Stopped().caveats, IsEmpty());
}

TEST_F(VmSessionHostTest, AShutdownThatIsCancelledIsNone) {
  ShutsDown();
  vm().Advance(absl::Seconds(5));
  vm().Host(false, kLogind);
  vm().EndBy("host-signal", Exited(0));
  ExpectVerdict(vm(), ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
  EXPECT_THAT(EvidenceOf(vm().Stopped()),
              HasSubstr("the host's shutdown was cancelled, reported by systemd-logind"));
}

TEST_F(VmSessionHostTest, AKillInTheShutdownIsTheHostsWhetherItsSenderWasSeenOrNot) {
  for (const bool seen : {true, false}) {
    Begin();
    ShutsDown();
    if (seen) vm().Sent(RootProcess(SIGKILL, "systemd"));
    vm().End(Signal(SIGKILL));
    ExpectHostShutdown("host-shutdown-end");
  }
}

TEST_F(VmSessionHostTest, AKillForMemoryOrByItselfIsACrashAlsoThen) {
  ShutsDown();
  vm().Sent(RootProcess(SIGKILL, "earlyoom"));
  vm().End(Signal(SIGKILL));
  ExpectVerdict(vm(), ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
  Begin();
  ShutsDown();
  vm().Sent({.signal = SIGKILL, .by_kernel = true});
  vm().End(Signal(SIGKILL));
  ExpectVerdict(vm(), ShutdownClass::kCrash, ShutdownCause::kQemuKilled);
}

TEST_F(VmSessionHostTest, ACrashOrAPanicIsOneAlsoThen) {
  ShutsDown();
  vm().End(Signal(SIGSEGV));
  ExpectVerdict(vm(), ShutdownClass::kCrash, ShutdownCause::kQemuCrashed);
  Begin();
  ShutsDown();
  vm().Event("GUEST_PANICKED", R"({"action": "poweroff"})");
  vm().EndBy("guest-panic", Exited(0));
  ExpectVerdict(vm(), ShutdownClass::kCrash, ShutdownCause::kGuestPanic);
  Begin();
  ShutsDown();
  vm().End(Exited(0));
  ExpectVerdict(vm(), ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

TEST_F(VmSessionHostTest, AnEndThatNobodySawInTheShutdownIsUnknown) {
  ShutsDown();
  vm().EndDuringRestart();
  ExpectVerdict(vm(), ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

TEST_F(VmSessionHostTest, ALauncherThatEndsInTheShutdownDoesNotSayHowItsQemuEnded) {
  for (const ProcessEnd& end : {ProcessEnd{}, Exited(0)}) {
    Begin();
    vm().Ready();
    vm().Closed();
    vm().Advance(absl::Minutes(5));
    vm().Host(true, kLogind);
    vm().Gone(end);
    ExpectVerdict(vm(), ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  }
}

TEST_F(VmSessionHostTest, ARunThatWasOpenAsTheHostWentDownEndedByThat) {
  ShutsDown();
  vm().Restart();
  vm().Rebooted();
  EXPECT_EQ(vm().Stopped().shutdown_class, ShutdownClass::kAdmin);
  EXPECT_EQ(vm().Stopped().cause, ShutdownCause::kHostShutdown);
  EXPECT_EQ(vm().Stopped().rule, "host-shutdown-unseen");
  // Files of monitors' directories went with the host.
  EXPECT_EQ(vm().file, std::nullopt);
}

TEST_F(VmSessionHostTest, ARunThatWasDecidedBeforeTheRebootStaysUnseen) {
  vm().Event("GUEST_PANICKED", R"({"action": "pause"})");
  ShutsDown();
  vm().Restart();
  vm().Rebooted();
  ExpectVerdict(vm(), ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_EQ(vm().Stopped().rule, "host-rebooted");
}

TEST_F(VmSessionHostTest, WhenItBeganOutlivesARestart) {
  ShutsDown();
  vm().Event("POWERDOWN");
  vm().RestartAndAttach();
  vm().Host(true, kLogind);
  vm().Shutdown("guest-shutdown");
  vm().EndDuringRestart(absl::ZeroDuration());
  ExpectHostShutdown("host-shutdown");
}

TEST_F(VmSessionHostTest, AResetDoesNotEndTheHostsShutdown) {
  ShutsDown();
  vm().Event("RESET");
  vm().EndBy("host-signal", Exited(0));
  ExpectHostShutdown("host-shutdown");
}

TEST_F(VmSessionHostTest, TheProgramThatEndsWhatIsLeftShowsAShutdownThatNobodySaid) {
  for (const char* program : {"systemd-shutdow", "killall5"}) {
    Begin();
    vm().Sent(RootProcess(SIGTERM, program));
    vm().EndBy("host-signal", Exited(0));
    ExpectHostShutdown("host-shutdown");
  }
  Begin();
  SignalSender user = RootProcess(SIGTERM, "killall5");
  user.uid = 1000;
  vm().Sent(user);
  vm().EndBy("host-signal", Exited(0));
  ExpectVerdict(vm(), ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
}

TEST_F(VmSessionHostTest, AContainersShutdownIsNotTheHosts) {
  SignalSender init = RootProcess(SIGTERM, "systemd-shutdow");
  init.pid = 812;  // to the host
  vm().Sent(init);
  vm().EndBy("host-signal", Exited(0));
  ExpectVerdict(vm(), ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
}

TEST_F(VmSessionHostTest, WhatNeverRanHereStaysUnknown) {
  SessionDriver vm;
  vm.Ready("inmigrate");
  vm.Host(true, kLogind);
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kNeverRan);
}

TEST_F(VmSessionHostTest, WhatIsSaidAgainIsNoNewEvidence) {
  ShutsDown();
  const std::string once = vm().saved;
  ShutsDown("systemd");
  EXPECT_EQ(vm().saved, once);
}

}  // namespace
}  // namespace vmeventd
