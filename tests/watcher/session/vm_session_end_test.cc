// How the ways in which a run ends are judged.

#include <csignal>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/problem_texts.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// The rows of docs/internals/qemu.md that are no transcript.

using VmSessionEndTest = RunningVmTest;

TEST_F(VmSessionEndTest, GuestPoweroffIsUser) {
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  EXPECT_THAT(vm_.Types(), ElementsAre(EventType::kStarted, EventType::kStopped));
  EXPECT_EQ(vm_.Last().qmp_event, "SHUTDOWN");
  EXPECT_EQ(vm_.Last().detail_json, R"({"guest":true,"reason":"guest-shutdown"})");
  EXPECT_EQ(vm_.Last().message,
            "USER: the guest powered itself off. Seen: SHUTDOWN reason=guest-shutdown, monitor "
            "closed, process gone.");
  EXPECT_TRUE(vm_.Stopped().shutdown_file_written);
}

TEST_F(VmSessionEndTest, APowerdownInItsWindowIsAdmin) {
  vm_.Event("POWERDOWN");
  vm_.Advance(absl::Minutes(10));
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostPowerdown);
  EXPECT_EQ(vm_.Stopped().powerdown_age, absl::Minutes(10));
}

TEST_F(VmSessionEndTest, AnIgnoredPowerdownIsOutOfItsWindow) {
  RunningVm vm(SessionOptions{.powerdown_window = absl::Seconds(3)});
  vm.Event("POWERDOWN");
  vm.Advance(absl::Milliseconds(3001));
  vm.EndBy("guest-shutdown");
  ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  EXPECT_EQ(vm.Stopped().powerdown_age, absl::Milliseconds(3001));
  EXPECT_THAT(vm.Stopped().caveats, ElementsAre(ShutdownCaveat::kPowerdownEarlier));
  EXPECT_THAT(vm.Last().message, HasSubstr("the power button was pressed 3s before the SHUTDOWN"));
}

TEST_F(VmSessionEndTest, ARebootObeysNoPowerdown) {
  vm_.Event("POWERDOWN");
  vm_.Advance(absl::Minutes(11));
  vm_.EndBy("guest-reset");
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestRebootExit);
  EXPECT_THAT(vm_.Stopped().caveats, IsEmpty());
}

TEST_F(VmSessionEndTest, AShutdownFileThatFailedIsTriedOnceMoreWhenTheProcessIsGone) {
  for (const bool again : {false, true}) {
    RunningVm vm;
    vm.Shutdown("guest-shutdown");
    vm.file_status = absl::ResourceExhaustedError("No space left on device");
    vm.Closed();
    EXPECT_THAT(vm.log, ElementsAre("file+"));
    if (!again) vm.file_status = absl::OkStatus();
    vm.Gone();
    EXPECT_THAT(vm.log, ElementsAre("file+", "file+", "STOPPED"));
    EXPECT_EQ(vm.Stopped().shutdown_file_written, !again);
    EXPECT_EQ(vm.Status().problems.empty(), !again);
  }
}

TEST_F(VmSessionEndTest, AShutdownFileThatCouldNotBeTakenBackIsStillThere) {
  vm_.Shutdown("guest-shutdown");
  vm_.Closed();
  vm_.file_status = absl::ResourceExhaustedError("Read-only file system");
  vm_.Ready();
  EXPECT_THAT(vm_.log, ElementsAre("file+", "file-"));
  vm_.file_status = absl::OkStatus();
  vm_.Event("RESUME");
  EXPECT_THAT(vm_.log, ElementsAre("file+", "file-", "file-"));
  EXPECT_EQ(vm_.file, false);
}

TEST_F(VmSessionEndTest, TheLastPowerdownCounts) {
  for (int press = 0; press < 12; ++press) {
    vm_.Event("POWERDOWN");
    vm_.Advance(absl::Minutes(1));
  }
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostPowerdown);
  EXPECT_EQ(vm_.Stopped().powerdown_age, absl::Minutes(1));
}

TEST_F(VmSessionEndTest, AResetAfterAPowerdownClearsIt) {
  vm_.Event("POWERDOWN");
  vm_.Event("RESET", R"({"guest": true, "reason": "guest-reset"})");
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  EXPECT_EQ(vm_.Stopped().powerdown_age, std::nullopt);
  EXPECT_EQ(vm_.Stopped().evidence.front().what, "RESET (clears: POWERDOWN)");
}

TEST_F(VmSessionEndTest, TheClocksStepDoesNotMatter) {
  vm_.Line(R"({"event":"POWERDOWN","timestamp":{"seconds":1,"microseconds":0}})");
  vm_.Line(R"({"event":"SHUTDOWN","timestamp":{"seconds":1795157000,"microseconds":0},)"
           R"("data":{"guest":true,"reason":"guest-shutdown"}})");
  vm_.End();
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostPowerdown);
}

TEST_F(VmSessionEndTest, PanicPausedThenQuitIsACrash) {
  vm_.Event("GUEST_PANICKED", R"({"action": "pause"})");
  vm_.Event("STOP");
  EXPECT_EQ(vm_.Status().state, VmState::kGuestDown);
  vm_.RunState("guest-panicked");
  vm_.EndBy("host-qmp-quit");
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kGuestPanic);
}

TEST_F(VmSessionEndTest, PanicWithoutActionUnderNoRebootIsACrash) {
  vm_.Event("GUEST_PANICKED", R"({"action": "run"})");
  vm_.EndBy("guest-reset");
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kGuestPanic);
}

TEST_F(VmSessionEndTest, AResetClearsAPanic) {
  vm_.Event("GUEST_PANICKED", R"({"action": "run"})");
  vm_.Event("RESET", R"({"guest": true, "reason": "guest-reset"})");
  EXPECT_EQ(vm_.Status().state, VmState::kRunning);
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

TEST_F(VmSessionEndTest, ACrashKernelsPoweroffIsACrash) {
  vm_.Event("GUEST_CRASHLOADED", R"({"action": "run"})");
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kGuestPanic);
}

// It may have returned to a snapshot in which it had not panicked, or not.
TEST_F(VmSessionEndTest, APanickedGuestThatIsResumedIsUnknownWhereThePanicDecides) {
  for (const char* reason : {"host-signal", "guest-shutdown", "guest-reset"}) {
    RunningVm vm;
    vm.Event("GUEST_PANICKED", R"({"action": "pause"})");
    vm.Event("STOP");
    vm.Event("RESUME");
    EXPECT_EQ(vm.Status().state, VmState::kRunning);
    vm.Event("STOP");
    EXPECT_EQ(vm.Status().state, VmState::kPaused);
    vm.Event("RESUME");
    vm.Restart(absl::ZeroDuration());
    vm.Ready();
    vm.EndBy(reason);
    ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
    EXPECT_EQ(vm.Stopped().rule, "snapshot");
    EXPECT_THAT(EvidenceOf(vm.Stopped()), HasSubstr("RESUME, perhaps from a snapshot of before; "));
  }
  vm_.Event("GUEST_PANICKED", R"({"action": "pause"})");
  vm_.Event("STOP");
  vm_.Event("RESUME");
  vm_.End(Signal(SIGSEGV));
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kGuestPanic);
}

TEST_F(VmSessionEndTest, APanicAfterAReturnToASnapshotCounts) {
  for (const bool event : {true, false}) {
    RunningVm vm;
    vm.Event("GUEST_PANICKED", R"({"action": "pause"})");
    vm.Event("STOP");
    vm.Event("RESUME");
    vm.Event("STOP");
    if (event) {
      vm.Event("GUEST_PANICKED", R"({"action": "pause"})");
    } else {
      vm.RestartAndAttach("guest-panicked");
    }
    vm.EndBy("host-qmp-quit");
    ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kGuestPanic);
  }
}

TEST_F(VmSessionEndTest, APowerdownBeforeAReturnToASnapshotDecidesNothing) {
  const struct {
    const char* reason;
    ShutdownClass shutdown_class;
    ShutdownCause cause;
  } kCases[] = {{"guest-shutdown", ShutdownClass::kUnknown, ShutdownCause::kUnobserved},
                {"host-signal", ShutdownClass::kAdmin, ShutdownCause::kHostSignal}};
  for (const auto& expected : kCases) {
    RunningVm vm;
    vm.Event("POWERDOWN");
    vm.Event("STOP");
    vm.Event("RESUME");
    vm.EndBy(expected.reason);
    ExpectVerdict(vm, expected.shutdown_class, expected.cause);
  }
  vm_.Event("POWERDOWN");
  vm_.Event("STOP");
  vm_.Event("RESUME");
  vm_.Event("POWERDOWN");
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostPowerdown);
  RunningVm intended;
  intended.Event("POWERDOWN");
  intended.Event("STOP");
  intended.Event("RESUME");
  intended.Declare();
  intended.EndBy("guest-shutdown");
  EXPECT_EQ(intended.Stopped().shutdown_class, ShutdownClass::kAdmin);
}

TEST_F(VmSessionEndTest, NoShutdownThenResetAndContIsAliveAgain) {
  vm_.Shutdown("guest-shutdown");
  vm_.Event("STOP");
  EXPECT_EQ(vm_.Last().type, EventType::kGuestShutdown);
  EXPECT_EQ(vm_.Last().shutdown->shutdown_class, ShutdownClass::kUser);
  EXPECT_EQ(vm_.Status().state, VmState::kGuestDown);
  vm_.Event("RESET", R"({"guest": false, "reason": "host-qmp-system-reset"})");
  EXPECT_EQ(vm_.Status().state, VmState::kPaused);
  vm_.Event("RESUME");
  EXPECT_EQ(vm_.Status().state, VmState::kRunning);
  vm_.EndBy("host-signal");
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
}

TEST_F(VmSessionEndTest, ResumeAloneClearsAShutdown) {
  vm_.Shutdown("guest-shutdown");
  vm_.Event("STOP");
  vm_.Event("RESUME");
  vm_.EndBy("host-qmp-quit");
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostQuit);
}

TEST_F(VmSessionEndTest, WatchdogPoweroffComesWithoutAShutdown) {
  vm_.Event("WATCHDOG", R"({"action": "poweroff"})");
  vm_.Closed();
  EXPECT_EQ(vm_.file, false) << "decided at EOF already";
  vm_.Gone();
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kWatchdog);
}

TEST_F(VmSessionEndTest, WatchdogShutdownIsNoPressByTheAdmin) {
  vm_.Event("WATCHDOG", R"({"action": "shutdown"})");
  vm_.Event("POWERDOWN");
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kWatchdog);
}

TEST_F(VmSessionEndTest, AWatchdogThatOnlyReportsIsNoCause) {
  for (const char* action : {"none", "debug", "inject-nmi"}) {
    RunningVm vm;
    vm.Event("WATCHDOG", absl::StrCat(R"({"action": ")", action, R"("})"));
    vm.EndBy("guest-shutdown");
    ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  }
}

TEST_F(VmSessionEndTest, AWatchdogResetIsAliveAgain) {
  vm_.Event("WATCHDOG", R"({"action": "reset"})");
  vm_.Event("RESET", R"({"guest": true, "reason": "guest-reset"})");
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

// The watchdog has pressed the power button: the guest runs until it obeys.
TEST_F(VmSessionEndTest, AReconnectDoesNotClearAWatchdogThatShutsDown) {
  for (const bool restart : {false, true}) {
    RunningVm vm;
    vm.Event("WATCHDOG", R"({"action": "shutdown"})");
    vm.Event("POWERDOWN");
    if (restart) {
      vm.Restart();
    } else {
      vm.Closed();
      vm.Advance(absl::Seconds(2));
    }
    vm.Ready("running");
    vm.EndBy("guest-shutdown");
    ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kWatchdog);
    EXPECT_THAT(vm.Last().message, Not(HasSubstr("RESUME")));
    EXPECT_THAT(vm.Last().message, HasSubstr("WATCHDOG action=shutdown, POWERDOWN"));
  }
}

TEST_F(VmSessionEndTest, AStopAndContLeaveAWatchdogThatShutsDownInDoubt) {
  vm_.Event("WATCHDOG", R"({"action": "shutdown"})");
  vm_.Event("POWERDOWN");
  vm_.Event("STOP");
  vm_.Event("RESUME");
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_EQ(vm_.Stopped().rule, "snapshot");
}

TEST_F(VmSessionEndTest, AWatchdogThatPausedIsClearedByRunningAgain) {
  for (const char* how : {"RESUME", "restart", "reconnect", "attach"}) {
    SessionDriver vm;
    if (how == std::string("attach")) {
      vm.Ready("watchdog");
    } else {
      vm.Ready();
      vm.Event("WATCHDOG", R"({"action": "pause"})");
    }
    vm.Event("STOP");
    if (how == std::string("restart")) {
      vm.RestartAndAttach();
    } else if (how == std::string("reconnect")) {
      vm.Closed();
      vm.Ready("running");
    } else {
      vm.Event("RESUME");
    }
    vm.EndBy("guest-shutdown");
    ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  }
}

TEST_F(VmSessionEndTest, WhatAReconnectClearsIsSaidOfTheReconnect) {
  vm_.Event("POWERDOWN");
  vm_.Shutdown("guest-shutdown");
  vm_.Event("STOP");
  vm_.RestartAndAttach();
  vm_.EndBy("host-qmp-quit");
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostQuit);
  EXPECT_THAT(vm_.Last().message, Not(HasSubstr("RESUME")));
  EXPECT_THAT(vm_.Last().message, HasSubstr("Seen: POWERDOWN, ")) << "it was not cleared";
  EXPECT_THAT(vm_.Last().message, HasSubstr("query-status running (clears: SHUTDOWN "));
}

TEST_F(VmSessionEndTest, HibernationIsUser) {
  vm_.Event("SUSPEND_DISK");
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestHibernate);
  EXPECT_THAT(vm_.Types(), Contains(EventType::kHibernating));
}

TEST_F(VmSessionEndTest, AMonitorThatAnotherClientHeldTellsNothing) {
  SessionDriver vm;
  vm.Held();
  EXPECT_EQ(vm.Types(), std::vector<EventType>{EventType::kStarted});
  EXPECT_EQ(vm.Status().state, VmState::kUnreachable);
  EXPECT_THAT(ProblemTexts(vm.Status().problems), ElementsAre(HasSubstr("held by another client")));
  vm.Gone();
  ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_EQ(vm.file, std::nullopt) << "UNKNOWN touches no file";
}

TEST_F(VmSessionEndTest, ALostMonitorTellsNothingOfALaterEnd) {
  for (const bool reconnecting : {false, true}) {
    SessionDriver vm;
    vm.file = true;
    vm.Ready();
    vm.Closed();
    vm.Advance(absl::Seconds(1));
    ASSERT_EQ(vm.Last().type, EventType::kMonitorLost);
    vm.Advance(absl::Hours(5));
    if (reconnecting) vm.Closed();
    vm.Gone(Exited(0));
    EXPECT_EQ(vm.Stopped().shutdown_class, ShutdownClass::kUnknown);
    EXPECT_EQ(vm.Stopped().rule, "unobserved");
    EXPECT_EQ(vm.file, true) << "UNKNOWN touches no file";
  }
}

TEST_F(VmSessionEndTest, ALostMonitorLeavesWhatTheKernelTells) {
  vm_.Closed();
  vm_.Advance(absl::Hours(5));
  vm_.Gone({ExitStatus{0, SIGSEGV}, false});
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kQemuCrashed);
}

TEST_F(VmSessionEndTest, AMonitorThatIsBackTellsAgain) {
  for (const absl::Duration away : {absl::ZeroDuration(), absl::Seconds(1)}) {
    RunningVm vm;
    vm.Closed();
    vm.Advance(away);
    vm.Ready();
    vm.End();
    ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kProcessExited);
  }
}

TEST_F(VmSessionEndTest, AMonitorThatClosedInItsHandshakeTellsNothingOfALaterEnd) {
  SessionDriver vm;
  vm.Event("MEMORY_FAILURE");
  vm.Closed();
  vm.Advance(absl::Hours(5));
  vm.Gone(Exited(0));
  ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

TEST_F(VmSessionEndTest, AGuestThatWasDownAtAttachIsNotJudged) {
  SessionDriver vm;
  vm.Ready("shutdown");
  EXPECT_EQ(vm.Status().state, VmState::kGuestDown);
  vm.EndBy("host-qmp-quit");
  ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

TEST_F(VmSessionEndTest, AGuestThatWasPanickedAtAttachIsACrash) {
  SessionDriver vm;
  vm.Ready("guest-panicked");
  vm.EndBy("host-qmp-quit");
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kGuestPanic);
}

TEST(VmSessionLegacyTest, AReasonFromTheFutureIsReadByItsName) {
  RunningVm vm;
  vm.Event("SHUTDOWN", R"({"reason": "host-new-thing"})");
  vm.End();
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostRequest);
}

}  // namespace
}  // namespace vmeventd
