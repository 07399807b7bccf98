// Who sent the signal that ended a run.

#include <csignal>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

SignalSender Process(int signal, absl::string_view command = "virtqemud") {
  return {.signal = signal,
          .pid = 812,
          .uid = 0,
          .command = std::string(command),
          .executable = std::string(absl::StrCat("/usr/sbin/", command)),
          .cgroup = std::string("/system.slice/virtqemud.service")};
}

using VmSessionSenderTest = RunningVmTest;

TEST_F(VmSessionSenderTest, ASigkillOfAnotherProcessIsTheHosts) {
  vm_.Sent(Process(SIGKILL));
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
  EXPECT_EQ(vm_.Stopped().rule, "killed-by-host");
  ASSERT_TRUE(vm_.Stopped().sender.has_value());
  EXPECT_EQ(vm_.Stopped().sender->command, "virtqemud");
  EXPECT_EQ(vm_.Stopped().sender->signal, SIGKILL);
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), HasSubstr("SIGKILL sent by virtqemud (pid 812, uid 0, "
                                                   "/system.slice/virtqemud.service); "));
}

TEST_F(VmSessionSenderTest, WhatWasReadOfASenderBeforeItWasGoneStays) {
  vm_.Sent(Process(SIGKILL));
  vm_.Sent({.signal = SIGKILL, .pid = 812, .uid = 0, .command = std::string("rpc-virtqemud")});
  vm_.End(Signal(SIGKILL));
  EXPECT_EQ(vm_.Stopped().sender->command, "virtqemud");
}

TEST_F(VmSessionSenderTest, ASigkillOfWhichTheSenderIsNotProvenIsUnknown) {
  ProcessEnd end = Signal(SIGKILL);
  end.sender_unclear = true;
  vm_.End(end);
  ExpectVerdict(vm_, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_EQ(vm_.Stopped().rule, "killed-unseen");
  end.oom_killed = true;
  RunningVm full;
  full.End(end);
  ExpectVerdict(full, ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
}

TEST_F(VmSessionSenderTest, ASigkillOfQemusOwnIsACrash) {
  SignalSender own = Process(SIGKILL, "qemu-system-x86");
  own.of_qemu = true;
  vm_.Sent(own);
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kQemuKilled);
  EXPECT_EQ(vm_.Stopped().sender->pid, 812);
  EXPECT_THAT(vm_.Last().message, Not(HasSubstr("by whom is not known")));
}

TEST_F(VmSessionSenderTest, ASigkillOfTheKernelIsACrashAndSaysSo) {
  vm_.Sent({.signal = SIGKILL, .by_kernel = true});
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kQemuKilled);
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), HasSubstr("SIGKILL sent by the kernel; "));
  EXPECT_TRUE(vm_.Stopped().sender->by_kernel);
}

TEST_F(VmSessionSenderTest, AKillOfItsContainerIsTheHosts) {
  for (const int sent : {SIGKILL, SIGTERM}) {
    RunningVm vm;
    SignalSender runc = Process(SIGKILL, "runc");
    runc.first_process = 4700;
    runc.first_signal = sent;
    vm.Sent(runc);
    vm.Restart(absl::ZeroDuration());
    vm.End(Signal(SIGKILL));
    ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
    EXPECT_EQ(vm.Stopped().sender->command, "runc");
    EXPECT_THAT(EvidenceOf(vm.Stopped()),
                HasSubstr(absl::StrCat("SIGKILL sent by the kernel, because the first process of "
                                       "its container (pid 4700) ended after a ",
                                       sent == SIGKILL ? "SIGKILL" : "SIGTERM",
                                       " of runc (pid 812, uid 0, ")));
  }
}

TEST_F(VmSessionSenderTest, AContainerWhoseFirstProcessEndedByItselfIsUnknown) {
  vm_.Sent({.signal = SIGKILL, .by_kernel = true, .first_process = 4700});
  vm_.Restart(absl::ZeroDuration());
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_EQ(vm_.Stopped().rule, "killed-unseen");
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), HasSubstr("SIGKILL sent by the kernel, because the first "
                                                   "process of its container (pid 4700) ended; "));
}

TEST_F(VmSessionSenderTest, AContainerThatTheKernelsVictimIsInHidesNothing) {
  for (const int first_signal : {0, SIGTERM}) {
    RunningVm vm;
    SignalSender runc = Process(SIGKILL, "runc");
    runc.by_kernel = first_signal == 0;
    runc.first_process = 4700;
    runc.first_signal = first_signal;
    vm.Sent(runc);
    vm.NamedOomVictim({});
    vm.End(Signal(SIGKILL));
    ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
  }
}

TEST_F(VmSessionSenderTest, AContainerThatEndsWithItsHostEndsByThat) {
  vm_.Host(true, "systemd-logind");
  vm_.Sent({.signal = SIGKILL, .by_kernel = true, .first_process = 4700});
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostShutdown);
}

TEST_F(VmSessionSenderTest, TheKernelsVictimIsOutOfMemoryWithItsNumbers) {
  vm_.Sent({.signal = SIGKILL, .by_kernel = true});
  vm_.NamedOomVictim({.total_vm = 5242880, .anon_rss = 4194304, .oom_score_adj = -200});
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              HasSubstr("the kernel named it as its OOM victim: total-vm 5242880 KiB, anon-rss "
                        "4194304 KiB, oom_score_adj -200; "));
}

TEST_F(VmSessionSenderTest, AVictimOfAKernelThatGivesNoNumbersIsOne) {
  vm_.NamedOomVictim({});
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), HasSubstr("the kernel named it as its OOM victim; "));
}

TEST_F(VmSessionSenderTest, AQemuThatDoesNotEndAfterASignalSaysWhoSentIt) {
  for (const int signal : {SIGKILL, SIGTERM}) {
    RunningVm vm;
    vm.threads = "1 D (waits in the kernel), 4 S (sleeps)";
    vm.Sent(Process(signal, "bash"));
    vm.Advance(absl::Milliseconds(9'999));
    EXPECT_TRUE(vm.Status().problems.empty());
    vm.Advance(absl::Milliseconds(1));
    ASSERT_EQ(vm.Last().type, EventType::kProblemsChanged);
    EXPECT_EQ(vm.Last().message,
              absl::StrCat(SignalName(signal),
                           " sent by bash (pid 812, uid 0, /system.slice/virtqemud.service) 10 s "
                           "ago, and QEMU has not ended; its threads: 1 D (waits in the kernel), 4 "
                           "S (sleeps)"));
    EXPECT_EQ(vm.Status().state, VmState::kRunning);
    vm.Advance(absl::Seconds(10));
    EXPECT_THAT(vm.Last().message, HasSubstr(" 20 s ago"));
    vm.Restart(absl::ZeroDuration());
    EXPECT_FALSE(vm.Status().problems.empty());
    vm.End(Signal(SIGKILL));
    EXPECT_TRUE(vm.Status().problems.empty());
  }
}

TEST_F(VmSessionSenderTest, AQemuThatObeysASignalLateIsInItsExit) {
  vm_.Sent(Process(SIGTERM));
  vm_.Advance(absl::Seconds(15));
  EXPECT_THAT(vm_.Last().message, HasSubstr("SIGTERM sent by"));
  vm_.Shutdown("host-signal");
  EXPECT_TRUE(vm_.Status().problems.empty());
  vm_.Advance(absl::Seconds(10));
  EXPECT_THAT(vm_.Last().message, HasSubstr("has not exited for 10 s after its shutdown"));
  vm_.Sent(Process(SIGKILL, "bash"));
  vm_.Advance(absl::Seconds(10));
  EXPECT_THAT(vm_.Last().message, HasSubstr("SIGKILL sent by bash"));
}

TEST_F(VmSessionSenderTest, ASigquitOfAnotherProcessIsTheHosts) {
  vm_.Sent(Process(SIGQUIT, "bash"));
  vm_.End(Signal(SIGQUIT));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
  EXPECT_EQ(vm_.Stopped().rule, "ended-by-host");
  EXPECT_EQ(vm_.Stopped().sender->command, "bash");
}

TEST_F(VmSessionSenderTest, ASignalOfACrashIsOneWhoeverSentIt) {
  for (const int signal : {SIGABRT, SIGSEGV, SIGQUIT}) {
    RunningVm vm;
    SignalSender sender = Process(signal, "bash");
    sender.of_qemu = signal == SIGQUIT;
    vm.Sent(sender);
    vm.End(Signal(signal));
    ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kQemuCrashed);
  }
}

// QEMU before 2.10 gives neither a reason nor `guest`.
TEST_F(VmSessionSenderTest, AnOldQemusShutdownAfterASignalIsTheHosts) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    RunningVm vm;
    vm.Sent(Process(signal));
    vm.Event("SHUTDOWN");
    vm.Restart(absl::ZeroDuration());
    vm.End(Exited(0));
    ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
    EXPECT_EQ(vm.Stopped().rule, "host-signal");
    EXPECT_EQ(vm.Stopped().sender->signal, signal);
    EXPECT_EQ(vm.file, false);
  }
  RunningVm full;
  full.Sent(Process(SIGTERM, "earlyoom"));
  full.Event("SHUTDOWN");
  full.End(Exited(0));
  ExpectVerdict(full, ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
}

TEST_F(VmSessionSenderTest, AnOldQemusShutdownBeforeTheSignalMayBeAnybodys) {
  const absl::Time said = absl::FromUnixSeconds(1795157000);
  for (const bool before : {true, false}) {
    RunningVm vm;
    SignalSender sender = Process(SIGTERM);
    sender.sent = said + absl::Microseconds(before ? -1 : 1);
    vm.Sent(sender);  // both were read at once
    vm.EventAt(said, "SHUTDOWN", "{}");
    vm.End(Exited(0));
    ExpectVerdict(vm, before ? ShutdownClass::kAdmin : ShutdownClass::kUnknown,
                  before ? ShutdownCause::kHostSignal : ShutdownCause::kUnobserved);
  }
  RunningVm late;
  late.Event("SHUTDOWN");
  late.Sent(Process(SIGTERM));
  late.End(Exited(0));
  ExpectVerdict(late, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_FALSE(late.Stopped().sender.has_value());
  RunningVm own;
  SignalSender sender = Process(SIGTERM);
  sender.of_qemu = true;
  own.Sent(sender);
  own.Event("SHUTDOWN");
  own.End(Exited(0));
  ExpectVerdict(own, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

TEST_F(VmSessionSenderTest, AMemoryKillerThatAsksFirstRunsOutOfMemory) {
  for (const char* killer : {"earlyoom", "nohang"}) {
    RunningVm vm;
    vm.Declare();
    vm.Sent(Process(SIGTERM, killer));
    vm.Shutdown("host-signal");
    vm.Sent(Process(SIGKILL, "bash"));  // it hung in its exit
    vm.End(Signal(SIGKILL));
    ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
    EXPECT_EQ(vm.Stopped().rule, "memory-killer");
    EXPECT_EQ(vm.Stopped().sender->command, killer);
  }
}

TEST_F(VmSessionSenderTest, AMemoryKillersSignalThatAnotherOneFollowedEndedNothing) {
  RunningVm vm;
  vm.Sent(Process(SIGTERM, "earlyoom"));
  vm.Sent(Process(SIGTERM, "systemd"));
  vm.EndBy("host-signal", Exited(0));
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
  RunningVm quit;
  quit.Sent(Process(SIGTERM, "earlyoom"));
  quit.EndBy("host-qmp-quit", Exited(0));
  ExpectVerdict(quit, ShutdownClass::kAdmin, ShutdownCause::kHostQuit);
}

TEST_F(VmSessionSenderTest, AMemoryKillersSignalAtItsStartIsACrashOnceItRan) {
  for (const bool ran : {true, false}) {
    SessionDriver vm;
    vm.Ready(ran ? "running" : "prelaunch");
    vm.Sent(Process(SIGTERM, "earlyoom"));
    vm.End(Signal(SIGTERM));
    ExpectVerdict(vm, ran ? ShutdownClass::kCrash : ShutdownClass::kAdmin,
                  ran ? ShutdownCause::kOutOfMemory : ShutdownCause::kHostSignal);
  }
}

TEST_F(VmSessionSenderTest, AMemoryKillersNameIsNotBelievedOfQemusOwnUser) {
  SignalSender neighbour = Process(SIGKILL, "earlyoom");
  neighbour.uid = 107;
  neighbour.of_qemus_user = true;
  vm_.Sent(neighbour);
  vm_.Restart(absl::ZeroDuration());
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
}

TEST_F(VmSessionSenderTest, AnOomKillOfANeighbourDoesNotHideWhoKilledThisOne) {
  vm_.Sent(Process(SIGKILL));
  vm_.End({ExitStatus{0, SIGKILL}, true});
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
}

TEST_F(VmSessionSenderTest, AnOomKillOfAHelperDoesNotHideAKillOfQemusOwn) {
  RunningVm vm;
  SignalSender own = Process(SIGKILL, "helper");
  own.of_qemu = true;
  vm.Sent(own);
  // The kernel names what is about to end and asks for memory.
  vm.NamedOomVictim({});
  vm.End({ExitStatus{0, SIGKILL}, true});
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kQemuKilled);
}

TEST_F(VmSessionSenderTest, TheHostsSignalHasItsSender) {
  vm_.Sent(Process(SIGTERM));
  vm_.Shutdown("host-signal");
  // It hung in its exit.
  vm_.Sent(Process(SIGKILL, "bash"));
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
  EXPECT_EQ(vm_.Stopped().sender->command, "virtqemud");
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              AllOf(HasSubstr("SIGTERM sent by virtqemud"), HasSubstr("SIGKILL sent by bash")));
}

TEST_F(VmSessionSenderTest, ASignalAfterTheOneThatQemuObeyedEndedNothing) {
  vm_.Sent(Process(SIGHUP, "first"));
  vm_.Sent(Process(SIGTERM, "virtqemud"));
  vm_.Shutdown("host-signal");
  vm_.Sent(Process(SIGTERM, "late"));
  vm_.Sent(Process(SIGINT, "later"));
  vm_.End(Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
  EXPECT_EQ(vm_.Stopped().sender->command, "virtqemud");
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              AllOf(HasSubstr("SIGTERM sent by virtqemud"), Not(HasSubstr("late"))));
}

TEST_F(VmSessionSenderTest, ASignalThatDidNotEndItIsNoSender) {
  vm_.Sent(Process(SIGTERM));
  vm_.EndBy("guest-shutdown", Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  EXPECT_FALSE(vm_.Stopped().sender.has_value());
}

TEST_F(VmSessionSenderTest, AnExitBySignalHasTheSenderOfThatSignalOnly) {
  for (const int sent : {SIGTERM, SIGHUP}) {
    RunningVm vm;
    vm.Sent(Process(sent));
    vm.End(Signal(SIGTERM));
    ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
    EXPECT_EQ(vm.Stopped().sender.has_value(), sent == SIGTERM);
  }
}

TEST_F(VmSessionSenderTest, AKillThatWasSeenNeedsNoExitStatus) {
  vm_.Sent(Process(SIGKILL));
  vm_.End();
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
}

TEST_F(VmSessionSenderTest, WhyNobodySawTheSenderIsSaid) {
  vm_.End({ExitStatus{0, SIGKILL}, false, "not recorded"});
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kQemuKilled);
  EXPECT_FALSE(vm_.Stopped().sender.has_value());
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), HasSubstr("sender not recorded; "));
}

TEST_F(VmSessionSenderTest, AnIntentIsTheAdmins) {
  vm_.Declare();
  vm_.Sent(Process(SIGKILL));
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
  EXPECT_THAT(vm_.Last().message, HasSubstr("as ops intended"));
}

TEST_F(VmSessionSenderTest, ManySignalsLeaveRoomForOtherEvidence) {
  vm_.Event("POWERDOWN");
  for (int i = 0; i < 100; ++i) vm_.Sent(Process(SIGTERM, i % 2 == 0 ? "one" : "two"));
  vm_.Sent(Process(SIGKILL));
  vm_.End(Signal(SIGKILL));
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              AllOf(HasSubstr("POWERDOWN"), HasSubstr("SIGTERM sent by two"),
                    Not(HasSubstr("SIGTERM sent by one"))));
}

TEST_F(VmSessionSenderTest, ARestartAndAResetKeepTheSender) {
  SignalSender sender = Process(SIGKILL);
  sender.uid = 4294967295U;
  vm_.Sent(sender);
  vm_.Sent(Process(SIGTERM, "kill"));
  vm_.NamedOomVictim({.total_vm = 1});
  vm_.Restart(absl::ZeroDuration());
  vm_.Event("POWERDOWN");
  vm_.Event("RESET");
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
  const SignalSender& kept = *vm_.Stopped().sender;
  EXPECT_EQ(kept.pid, 812);
  EXPECT_EQ(kept.uid, sender.uid);
  EXPECT_EQ(kept.executable, "/usr/sbin/virtqemud");
  EXPECT_EQ(kept.cgroup, "/system.slice/virtqemud.service");
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              AllOf(HasSubstr("SIGKILL sent by"), HasSubstr("SIGTERM sent by kill")));
}

}  // namespace
}  // namespace vmeventd
