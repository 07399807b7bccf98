// Who sent the signal that ended a run.

#include <csignal>
#include <string>

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
          .command = SharedText(command),
          .executable = SharedText(absl::StrCat("/usr/sbin/", command)),
          .cgroup = SharedText("/system.slice/virtqemud.service")};
}

TEST(VmSessionSenderTest, ASigkillOfAnotherProcessIsTheHosts) {
  RunningVm vm;
  vm.Sent(Process(SIGKILL));
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
  EXPECT_EQ(vm.Stopped().rule, "killed-by-host");
  ASSERT_TRUE(vm.Stopped().sender.has_value());
  EXPECT_EQ(vm.Stopped().sender->command.str(), "virtqemud");
  EXPECT_EQ(vm.Stopped().sender->signal, SIGKILL);
  EXPECT_THAT(EvidenceOf(vm.Stopped()), HasSubstr("SIGKILL sent by virtqemud (pid 812, uid 0, "
                                                  "/system.slice/virtqemud.service); "));
}

TEST(VmSessionSenderTest, WhatWasReadOfASenderBeforeItWasGoneStays) {
  RunningVm vm;
  vm.Sent(Process(SIGKILL));
  vm.Sent({.signal = SIGKILL, .pid = 812, .uid = 0, .command = SharedText("rpc-virtqemud")});
  vm.End(Signal(SIGKILL));
  EXPECT_EQ(vm.Stopped().sender->command.str(), "virtqemud");
}

TEST(VmSessionSenderTest, ASigkillOfWhichTheSenderIsNotProvenIsUnknown) {
  ProcessEnd end = Signal(SIGKILL);
  end.sender_unclear = true;
  RunningVm vm;
  vm.End(end);
  ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_EQ(vm.Stopped().rule, "killed-unseen");
  end.oom_killed = true;
  RunningVm full;
  full.End(end);
  ExpectVerdict(full, ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
}

TEST(VmSessionSenderTest, ASigkillOfQemusOwnIsACrash) {
  RunningVm vm;
  SignalSender own = Process(SIGKILL, "qemu-system-x86");
  own.of_qemu = true;
  vm.Sent(own);
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kQemuKilled);
  EXPECT_EQ(vm.Stopped().sender->pid, 812);
  EXPECT_THAT(vm.Last().message, Not(HasSubstr("by whom is not known")));
}

TEST(VmSessionSenderTest, ASigkillOfTheKernelIsACrashAndSaysSo) {
  RunningVm vm;
  vm.Sent({.signal = SIGKILL, .by_kernel = true});
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kQemuKilled);
  EXPECT_THAT(EvidenceOf(vm.Stopped()), HasSubstr("SIGKILL sent by the kernel; "));
  EXPECT_TRUE(vm.Stopped().sender->by_kernel);
}

TEST(VmSessionSenderTest, TheKernelsVictimIsOutOfMemoryWithItsNumbers) {
  RunningVm vm;
  vm.Sent({.signal = SIGKILL, .by_kernel = true});
  vm.NamedOomVictim({.total_vm = 5242880, .anon_rss = 4194304, .oom_score_adj = -200});
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
  EXPECT_THAT(EvidenceOf(vm.Stopped()),
              HasSubstr("the kernel named it as its OOM victim: total-vm 5242880 KiB, anon-rss "
                        "4194304 KiB, oom_score_adj -200; "));
}

TEST(VmSessionSenderTest, AVictimOfAKernelThatGivesNoNumbersIsOne) {
  RunningVm vm;
  vm.NamedOomVictim({});
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
  EXPECT_THAT(EvidenceOf(vm.Stopped()), HasSubstr("the kernel named it as its OOM victim; "));
}

TEST(VmSessionSenderTest, AMemoryKillerRunsOutOfMemory) {
  for (const char* killer : {"systemd-oomd", "earlyoom", "nohang", "oomd"}) {
    RunningVm vm;
    vm.Sent(Process(SIGKILL, killer));
    vm.End(Signal(SIGKILL));
    ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
  }
}

TEST(VmSessionSenderTest, AMemoryKillerThatAsksFirstRunsOutOfMemory) {
  for (const char* killer : {"earlyoom", "nohang"}) {
    SessionDriver vm;
    vm.Ready();
    vm.Declare();
    vm.Sent(Process(SIGTERM, killer));
    vm.Shutdown("host-signal");
    vm.Sent(Process(SIGKILL, "bash"));  // it hung in its exit
    vm.End(Signal(SIGKILL));
    ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
    EXPECT_EQ(vm.Stopped().rule, "memory-killer");
    EXPECT_EQ(vm.Stopped().sender->command.str(), killer);
  }
}

TEST(VmSessionSenderTest, AMemoryKillersSignalThatAnotherOneFollowedEndedNothing) {
  SessionDriver vm;
  vm.Ready();
  vm.Sent(Process(SIGTERM, "earlyoom"));
  vm.Sent(Process(SIGTERM, "systemd"));
  vm.Shutdown("host-signal");
  vm.End({ExitStatus{0, 0}, false});
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
  SessionDriver quit;
  quit.Ready();
  quit.Sent(Process(SIGTERM, "earlyoom"));
  quit.Shutdown("host-qmp-quit");
  quit.End({ExitStatus{0, 0}, false});
  ExpectVerdict(quit, ShutdownClass::kAdmin, ShutdownCause::kHostQuit);
}

TEST(VmSessionSenderTest, AMemoryKillersSignalAtItsStartIsACrashOnceItRan) {
  for (const bool ran : {true, false}) {
    SessionDriver vm;
    vm.Ready(ran ? "running" : "prelaunch");
    vm.Sent(Process(SIGTERM, "earlyoom"));
    vm.End(Signal(SIGTERM));
    ExpectVerdict(vm, ran ? ShutdownClass::kCrash : ShutdownClass::kAdmin,
                  ran ? ShutdownCause::kOutOfMemory : ShutdownCause::kHostSignal);
  }
}

TEST(VmSessionSenderTest, AMemoryKillersNameIsNotBelievedOfQemusOwnUser) {
  RunningVm vm;
  SignalSender neighbour = Process(SIGKILL, "earlyoom");
  neighbour.uid = 107;
  neighbour.of_qemus_user = true;
  vm.Sent(neighbour);
  vm.Restart(absl::ZeroDuration());
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
}

TEST(VmSessionSenderTest, AnOomKillOfANeighbourDoesNotHideWhoKilledThisOne) {
  RunningVm vm;
  vm.Sent(Process(SIGKILL));
  vm.End({ExitStatus{0, SIGKILL}, true});
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
}

TEST(VmSessionSenderTest, AnOomKillOfAHelperDoesNotHideAKillOfQemusOwn) {
  SessionDriver vm;
  vm.Ready();
  SignalSender own = Process(SIGKILL, "helper");
  own.of_qemu = true;
  vm.Sent(own);
  // The kernel names what is about to end and asks for memory.
  vm.NamedOomVictim({});
  vm.End({ExitStatus{0, SIGKILL}, true});
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kQemuKilled);
}

TEST(VmSessionSenderTest, TheHostsSignalHasItsSender) {
  RunningVm vm;
  vm.Sent(Process(SIGTERM));
  vm.Shutdown("host-signal");
  // It hung in its exit.
  vm.Sent(Process(SIGKILL, "bash"));
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
  EXPECT_EQ(vm.Stopped().sender->command.str(), "virtqemud");
  EXPECT_THAT(EvidenceOf(vm.Stopped()),
              AllOf(HasSubstr("SIGTERM sent by virtqemud"), HasSubstr("SIGKILL sent by bash")));
}

TEST(VmSessionSenderTest, ASignalAfterTheOneThatQemuObeyedEndedNothing) {
  RunningVm vm;
  vm.Sent(Process(SIGHUP, "first"));
  vm.Sent(Process(SIGTERM, "virtqemud"));
  vm.Shutdown("host-signal");
  vm.Sent(Process(SIGTERM, "late"));
  vm.Sent(Process(SIGINT, "later"));
  vm.End({ExitStatus{0, 0}, false});
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
  EXPECT_EQ(vm.Stopped().sender->command.str(), "virtqemud");
  EXPECT_THAT(EvidenceOf(vm.Stopped()),
              AllOf(HasSubstr("SIGTERM sent by virtqemud"), Not(HasSubstr("late"))));
}

TEST(VmSessionSenderTest, ASignalThatDidNotEndItIsNoSender) {
  RunningVm vm;
  vm.Sent(Process(SIGTERM));
  vm.Shutdown("guest-shutdown");
  vm.End({ExitStatus{0, 0}, false});
  ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  EXPECT_FALSE(vm.Stopped().sender.has_value());
}

TEST(VmSessionSenderTest, AnExitBySignalHasTheSenderOfThatSignalOnly) {
  for (const int sent : {SIGTERM, SIGHUP}) {
    RunningVm vm;
    vm.Sent(Process(sent));
    vm.End(Signal(SIGTERM));
    ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
    EXPECT_EQ(vm.Stopped().sender.has_value(), sent == SIGTERM);
  }
}

TEST(VmSessionSenderTest, AKillThatWasSeenNeedsNoExitStatus) {
  RunningVm vm;
  vm.Sent(Process(SIGKILL));
  vm.End();
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
}

TEST(VmSessionSenderTest, WhyNobodySawTheSenderIsSaid) {
  RunningVm vm;
  vm.End({ExitStatus{0, SIGKILL}, false, "--signal-senders is off"});
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kQemuKilled);
  EXPECT_FALSE(vm.Stopped().sender.has_value());
  EXPECT_THAT(EvidenceOf(vm.Stopped()),
              HasSubstr("who sent SIGKILL is not known: --signal-senders is off; "));
}

TEST(VmSessionSenderTest, AnIntentIsTheAdmins) {
  RunningVm vm;
  vm.Declare();
  vm.Sent(Process(SIGKILL));
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
  EXPECT_THAT(vm.Last().message, HasSubstr("as ops intended"));
}

TEST(VmSessionSenderTest, ManySignalsLeaveRoomForOtherEvidence) {
  RunningVm vm;
  vm.Event("POWERDOWN");
  for (int i = 0; i < 100; ++i) vm.Sent(Process(SIGTERM, i % 2 == 0 ? "one" : "two"));
  vm.Sent(Process(SIGKILL));
  vm.End(Signal(SIGKILL));
  EXPECT_THAT(EvidenceOf(vm.Stopped()),
              AllOf(HasSubstr("POWERDOWN"), HasSubstr("SIGTERM sent by two"),
                    Not(HasSubstr("SIGTERM sent by one"))));
}

TEST(VmSessionSenderTest, ARestartAndAResetKeepTheSender) {
  RunningVm vm;
  SignalSender sender = Process(SIGKILL);
  sender.uid = 4294967295U;
  vm.Sent(sender);
  vm.Sent(Process(SIGTERM, "kill"));
  vm.NamedOomVictim({.total_vm = 1});
  vm.Restart(absl::ZeroDuration());
  vm.Event("POWERDOWN");
  vm.Event("RESET");
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostKill);
  const SignalSender& kept = *vm.Stopped().sender;
  EXPECT_EQ(kept.pid, 812);
  EXPECT_EQ(kept.uid, sender.uid);
  EXPECT_EQ(kept.executable.str(), "/usr/sbin/virtqemud");
  EXPECT_EQ(kept.cgroup.str(), "/system.slice/virtqemud.service");
  EXPECT_THAT(EvidenceOf(vm.Stopped()),
              AllOf(HasSubstr("SIGKILL sent by"), HasSubstr("SIGTERM sent by kill")));
}

}  // namespace
}  // namespace vmeventd
