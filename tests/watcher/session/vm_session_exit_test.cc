// How a run ends, by what the kernel reports of its process.

#include <csignal>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/problem_texts.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

using VmSessionExitTest = RunningVmTest;

TEST_F(VmSessionExitTest, TheKernelSaysWhatBecameOfQemu) {
  const struct {
    ProcessEnd end;
    ShutdownClass shutdown_class;
    ShutdownCause cause;
    const char* evidence;
  } kCases[] = {
      {Signal(SIGKILL), ShutdownClass::kCrash, ShutdownCause::kQemuKilled,
       "exit signal 9 (SIGKILL)"},
      {Signal(SIGSEGV), ShutdownClass::kCrash, ShutdownCause::kQemuCrashed,
       "exit signal 11 (SIGSEGV)"},
      {Signal(SIGABRT), ShutdownClass::kCrash, ShutdownCause::kQemuCrashed,
       "exit signal 6 (SIGABRT)"},
      {Signal(SIGBUS), ShutdownClass::kCrash, ShutdownCause::kQemuCrashed,
       "exit signal 7 (SIGBUS)"},
      {Signal(SIGTERM), ShutdownClass::kAdmin, ShutdownCause::kHostSignal,
       "exit signal 15 (SIGTERM)"},
      {Signal(SIGINT), ShutdownClass::kAdmin, ShutdownCause::kHostSignal, "exit signal 2 (SIGINT)"},
      {Signal(SIGHUP), ShutdownClass::kAdmin, ShutdownCause::kHostSignal, "exit signal 1 (SIGHUP)"},
      {Exited(1), ShutdownClass::kCrash, ShutdownCause::kQemuCrashed, "exit code 1"},
      {{ExitStatus{0, SIGKILL}, true},
       ShutdownClass::kCrash,
       ShutdownCause::kOutOfMemory,
       "OOM kill"},
  };
  for (const auto& expected : kCases) {
    RunningVm vm;
    vm.End(expected.end);
    ExpectVerdict(vm, expected.shutdown_class, expected.cause);
    EXPECT_EQ(vm.Stopped().exit_status->signal, expected.end.status->signal);
    EXPECT_EQ(vm.Stopped().exit_status->code, expected.end.status->code);
    EXPECT_THAT(EvidenceOf(vm.Stopped()), HasSubstr(expected.evidence));
  }
}

TEST_F(VmSessionExitTest, AVmThatIsDownIsAskedNothing) {
  vm_.Shutdown("guest-shutdown");
  vm_.Event("STOP");  // -no-shutdown
  vm_.Advance(absl::Minutes(1));
  EXPECT_EQ(vm_.queries, 0);
}

// Nothing is asked after a SHUTDOWN, so the handshake does not end.
TEST_F(VmSessionExitTest, AQemuThatHangsInItsExitSinceItsHandshakeIsListed) {
  SessionDriver vm;
  vm.Shutdown("host-signal");
  vm.Advance(absl::Seconds(4));
  EXPECT_THAT(vm.Types(), IsEmpty());
  vm.Advance(absl::Seconds(1));
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted, EventType::kGuestShutdown));
  EXPECT_EQ(vm.Status().state, VmState::kGuestDown);
  vm.Advance(absl::Minutes(1));
  EXPECT_THAT(ProblemTexts(vm.Status().problems), Contains(HasSubstr("has not exited")));
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
}

TEST_F(VmSessionExitTest, WithoutAWordAndAStatusItIsACrash) {
  vm_.End();
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kProcessExited);
  EXPECT_FALSE(vm_.Stopped().exit_status.has_value());
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), HasSubstr("exit status not known"));
}

TEST_F(VmSessionExitTest, WithoutAWordACleanExitIsNoCrash) {
  vm_.End(Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_EQ(vm_.Stopped().rule, "clean-exit");
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), HasSubstr("exit code 0"));
}

TEST_F(VmSessionExitTest, ADebuggersKillIsTheHosts) {
  vm_.Event("STOP");
  vm_.Restart(absl::ZeroDuration());
  vm_.Ready("debug");
  vm_.End(Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostRequest);
  EXPECT_EQ(vm_.Stopped().rule, "paused-exit");
}

TEST_F(VmSessionExitTest, AGuestThatHasADeviceForItEndsQemuWithACode) {
  const struct {
    ProcessEnd end;
    ShutdownClass shutdown_class;
    ShutdownCause cause;
  } kCases[] = {
      {Exited(0x31 << 1 | 1), ShutdownClass::kUser, ShutdownCause::kGuestRequest},
      {Exited(2), ShutdownClass::kUser, ShutdownCause::kGuestRequest},
      // QEMU's own way to give up.
      {Exited(1), ShutdownClass::kUnknown, ShutdownCause::kUnobserved},
      {Exited(0), ShutdownClass::kUnknown, ShutdownCause::kUnobserved},
      {Signal(SIGSEGV), ShutdownClass::kCrash, ShutdownCause::kQemuCrashed},
  };
  for (const auto& expected : kCases) {
    SessionDriver vm;
    vm.guest_can_exit = true;
    vm.Ready();
    vm.Restart(absl::ZeroDuration());
    vm.guest_can_exit = false;
    vm.Ready();
    vm.End(expected.end);
    ExpectVerdict(vm, expected.shutdown_class, expected.cause);
  }
  vm_.End(Exited(3));
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kQemuCrashed);
}

TEST_F(VmSessionExitTest, TheKernelsWordCountsWhereNobodyHereHadTheMonitor) {
  const struct {
    ProcessEnd end;
    ShutdownClass shutdown_class;
    ShutdownCause cause;
  } kCases[] = {
      {Signal(SIGSEGV), ShutdownClass::kCrash, ShutdownCause::kQemuCrashed},
      {Signal(SIGKILL), ShutdownClass::kCrash, ShutdownCause::kQemuKilled},
      {Signal(SIGTERM), ShutdownClass::kAdmin, ShutdownCause::kHostSignal},
      {Exited(1), ShutdownClass::kCrash, ShutdownCause::kQemuCrashed},
      {Exited(0), ShutdownClass::kUnknown, ShutdownCause::kUnobserved},
      {{}, ShutdownClass::kUnknown, ShutdownCause::kUnobserved},
  };
  for (const auto& expected : kCases) {
    SessionDriver vm;
    vm.Held();
    vm.Gone(expected.end);
    ExpectVerdict(vm, expected.shutdown_class, expected.cause);
  }
}

TEST_F(VmSessionExitTest, AQemuThatGaveUpBeforeItsGreetingNeverRan) {
  const struct {
    absl::Duration life;
    ProcessEnd end;
    ShutdownClass shutdown_class;
    ShutdownCause cause;
  } kCases[] = {
      {absl::Seconds(1), Exited(1), ShutdownClass::kUnknown, ShutdownCause::kNeverRan},
      {absl::Seconds(16), Exited(1), ShutdownClass::kUnknown, ShutdownCause::kNeverRan},
      {absl::Seconds(16), Signal(SIGABRT), ShutdownClass::kUnknown, ShutdownCause::kNeverRan},
      {absl::Seconds(16), Signal(SIGKILL), ShutdownClass::kUnknown, ShutdownCause::kNeverRan},
      {absl::Seconds(16), Signal(SIGTERM), ShutdownClass::kAdmin, ShutdownCause::kHostSignal},
      // Another client may have its monitor.
      {absl::Minutes(2), Exited(1), ShutdownClass::kCrash, ShutdownCause::kQemuCrashed},
  };
  for (const auto& expected : kCases) {
    SessionDriver vm({}, true, "/run/ctrl/web1.kvmd", absl::ZeroDuration());
    vm.Advance(expected.life);
    vm.Held();
    vm.Gone(expected.end);
    ExpectVerdict(vm, expected.shutdown_class, expected.cause);
    if (expected.life == absl::Seconds(16)) {
      EXPECT_THAT(EvidenceOf(vm.Stopped()),
                  HasSubstr("QEMU sent no greeting in the 16 s of its life; "));
    }
  }
}

TEST_F(VmSessionExitTest, AQemuThatGreetedHasRun) {
  SessionDriver vm({}, true, "/run/ctrl/web1.kvmd", absl::ZeroDuration());
  vm.Ready();
  vm.End(Exited(1));
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kQemuCrashed);
}

TEST_F(VmSessionExitTest, AQemuThatIsSilentSoonAfterItsStartMayBeStarting) {
  SessionDriver vm({}, true, "/run/ctrl/web1.kvmd", absl::ZeroDuration());
  vm.Advance(absl::Seconds(15));
  vm.Held();
  EXPECT_THAT(ProblemTexts(vm.Status().problems),
              Contains(HasSubstr("QEMU may still be starting")));
  vm.Advance(absl::Minutes(2));
  vm.Held();
  EXPECT_THAT(ProblemTexts(vm.Status().problems), Contains(HasSubstr("held by another client")));
}

TEST_F(VmSessionExitTest, AShutdownThatWasSeenDecidesAndTheStatusIsShown) {
  for (const ProcessEnd& end : {Signal(SIGSEGV), Signal(SIGKILL), Exited(1), Exited(0)}) {
    RunningVm vm;
    vm.EndBy("guest-shutdown", end);
    ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
    EXPECT_EQ(vm.Stopped().exit_status->signal, end.status->signal);
    EXPECT_EQ(vm.Stopped().exit_status->code, end.status->code);
    EXPECT_THAT(EvidenceOf(vm.Stopped()), HasSubstr(DescribeExit(*end.status)));
  }
}

TEST_F(VmSessionExitTest, AShutdownThatWasClearedDoesNot) {
  vm_.Shutdown("guest-shutdown");
  vm_.Event("RESET");
  vm_.End(Signal(SIGSEGV));
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kQemuCrashed);
}

TEST_F(VmSessionExitTest, WhatIsNotTrackedHasNoStatus) {
  RunningVm vm({}, false);
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kProcessExited);
  EXPECT_FALSE(vm.Stopped().exit_status.has_value());
}

TEST_F(VmSessionExitTest, WhatWasMigratedAwayIsNoCrashWhateverEndsIt) {
  for (const ProcessEnd& end :
       {Signal(SIGKILL), Signal(SIGSEGV), Exited(1), Exited(0), ProcessEnd()}) {
    RunningVm vm;
    vm.Event("STOP");
    vm.RunState("postmigrate");
    vm.End(end);
    ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kMigratedAway);
  }
}

TEST_F(VmSessionExitTest, TheStatusOfARunThatEndedMeanwhileIsTaken) {
  vm_.Restart();
  vm_.Gone(Signal(SIGABRT));
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kQemuCrashed);
}

TEST_F(VmSessionExitTest, TheOomCountIsKept) {
  vm_.OomKills(7);
  EXPECT_THAT(vm_.saved, Not(HasSubstr("oom")));  // no file has the count
  EXPECT_EQ(vm_.session().run().oom_kills, 7u);
}

// QEMU that does not exit

const char* const kHangs = "has not exited for";

std::vector<std::string> HangProblems(const SessionDriver& vm) {
  std::vector<std::string> reported;
  for (const VmStatus& status : vm.statuses) {
    for (const std::string& problem : ProblemTexts(status.problems)) {
      if (problem.find(kHangs) == std::string::npos) continue;
      if (reported.empty() || reported.back() != problem) reported.push_back(problem);
    }
  }
  return reported;
}

using VmSessionHangTest = RunningVmTest;

TEST_F(VmSessionHangTest, AQemuThatDoesNotExitHasAProblemThatGrowsNowAndThen) {
  vm_.Shutdown("host-qmp-quit");
  vm_.Closed();
  for (int second = 0; second < 45; ++second) vm_.Advance(absl::Seconds(1));
  EXPECT_THAT(HangProblems(vm_), ElementsAre("QEMU has not exited for 10 s after its shutdown",
                                             "QEMU has not exited for 20 s after its shutdown",
                                             "QEMU has not exited for 40 s after its shutdown"));
  EXPECT_THAT(vm_.Types(), Not(Contains(EventType::kStopped)));
  EXPECT_EQ(vm_.Status().state, VmState::kGuestDown);
  vm_.Gone(Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostQuit);
  EXPECT_THAT(vm_.statuses.back().problems, IsEmpty());
}

TEST_F(VmSessionHangTest, OneThatKeepsItsMonitorOpenHangsAsWell) {
  vm_.Shutdown("guest-shutdown");
  vm_.Advance(absl::Seconds(9));
  EXPECT_THAT(HangProblems(vm_), IsEmpty());
  vm_.Advance(absl::Seconds(1));
  EXPECT_EQ(HangProblems(vm_).size(), 1u);
}

TEST_F(VmSessionHangTest, OneThatStaysByNoShutdownHasNoProblem) {
  vm_.Shutdown("guest-shutdown");
  vm_.Event("STOP");
  vm_.Advance(absl::Hours(1));
  EXPECT_THAT(HangProblems(vm_), IsEmpty());
  vm_.Shutdown("host-qmp-quit");
  vm_.Closed();
  vm_.Advance(absl::Seconds(10));
  EXPECT_EQ(HangProblems(vm_).size(), 1u) << "the second SHUTDOWN ends it";
}

TEST_F(VmSessionHangTest, OneThatAnswersOrIsAliveAgainDoesNotHang) {
  for (const bool answers : {false, true}) {
    RunningVm vm;
    vm.Shutdown("guest-shutdown");
    if (answers) {
      vm.Closed();
      vm.Advance(absl::Seconds(11));
      EXPECT_FALSE(vm.Status().problems.empty());
      vm.Ready("shutdown");
    } else {
      vm.Event("RESET");
    }
    EXPECT_THAT(vm.Status().problems, IsEmpty());
    vm.Advance(absl::Hours(1));
    EXPECT_THAT(vm.Status().problems, IsEmpty());
  }
}

TEST_F(VmSessionHangTest, ARestartDoesNotForgetSinceWhen) {
  vm_.Shutdown("host-signal");
  vm_.Closed();
  vm_.Restart(absl::Seconds(15));
  vm_.Advance(absl::Milliseconds(1));
  EXPECT_THAT(HangProblems(vm_), ElementsAre("QEMU has not exited for 15 s after its shutdown"));
}

class HangCheckTest : public testing::Test {
 protected:
  RunningVm vm_{{.hang_check = absl::Seconds(30)}};
};

TEST_F(HangCheckTest, AQemuThatAnswersHasNoProblem) {
  for (int asked = 0; asked < 5; ++asked) {
    vm_.Advance(absl::Seconds(30) - absl::Milliseconds(1));
    EXPECT_EQ(vm_.queries, asked);
    vm_.Advance(absl::Milliseconds(1));
    EXPECT_EQ(vm_.queries, asked + 1);
    vm_.AdvanceWithoutTick(absl::Milliseconds(1));
    vm_.RunState("running");
  }
  EXPECT_THAT(vm_.Types(), ElementsAre(EventType::kStarted));
}

TEST_F(HangCheckTest, AQemuThatDoesNotAnswerIsUnreachableUntilItDoes) {
  vm_.threads = "5 T (stopped)";
  vm_.Advance(absl::Seconds(30));
  vm_.Advance(absl::Seconds(10) - absl::Milliseconds(1));
  EXPECT_EQ(vm_.Status().state, VmState::kRunning);
  vm_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(vm_.Status().state, VmState::kUnreachable);
  EXPECT_THAT(ProblemTexts(vm_.Status().problems),
              ElementsAre("QEMU does not answer; its threads: 5 T (stopped)"));
  vm_.Advance(absl::Minutes(5));
  vm_.HandOver(absl::ZeroDuration());
  EXPECT_EQ(vm_.Status().state, VmState::kUnreachable);
  vm_.RunState("running");
  EXPECT_EQ(vm_.Status().state, VmState::kRunning);
  EXPECT_THAT(vm_.Status().problems, IsEmpty());
  vm_.EndBy("guest-shutdown", Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

TEST_F(HangCheckTest, AQemuThatMayBeEndingIsAskedNothing) {
  for (const char* how : {"SHUTDOWN", "SIGTERM", "closed"}) {
    RunningVm vm({.hang_check = absl::Seconds(30)});
    if (how == std::string("SHUTDOWN")) vm.Shutdown("guest-shutdown");
    if (how == std::string("SIGTERM")) vm.Sent({.signal = SIGTERM, .pid = 812});
    if (how == std::string("closed")) vm.Closed();
    vm.Advance(absl::Minutes(1));
    vm.Advance(absl::Minutes(1));
    EXPECT_EQ(vm.queries, 0) << how;
    EXPECT_THAT(ProblemTexts(vm.Status().problems), Not(Contains(HasSubstr("does not answer"))));
  }
}

TEST_F(HangCheckTest, AVmThatIsPausedAndGoesOnIsStillAsked) {
  vm_.Event("STOP");
  vm_.Event("RESUME");
  vm_.Advance(absl::Seconds(30));
  EXPECT_EQ(vm_.queries, 1);
}

}  // namespace
}  // namespace vmeventd
