// Who sent the signal that ended a run.

#include <csignal>

#include "absl/strings/str_cat.h"
#include "base/signal_name.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/process_ends.h"
#include "tests/watcher/session/running_vm.h"
#include "tests/watcher/session/story_suite.h"
#include "tests/watcher/session/verdicts.h"

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

TEST_F(VmSessionSenderTest, TheKernelsVictimIsOutOfMemoryWithItsNumbers) {
  vm_.Sent({.signal = SIGKILL, .by_kernel = true});
  vm_.NamedOomVictim({.total_vm = 5242880, .anon_rss = 4194304, .oom_score_adj = -200});
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kOutOfMemory);
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              HasSubstr("the kernel named it as its OOM victim: total-vm 5242880 KiB, anon-rss "
                        "4194304 KiB, oom_score_adj -200; "));
}

TEST_F(VmSessionSenderTest, TheProblemOfAQemuThatIgnoresASignalNamesTheSender) {
  for (const int signal : {SIGKILL, SIGTERM}) {
    RunningVm vm;
    vm.threads = "1 D (waits in the kernel), 4 S (sleeps)";
    vm.Sent(Process(signal, "bash"));
    vm.Advance(absl::Milliseconds(9'999));
    EXPECT_TRUE(vm.Status().problems().empty());
    vm.Advance(absl::Milliseconds(1));
    ASSERT_EQ(vm.Last().type(), EventType::kProblemsChanged);
    EXPECT_EQ(vm.Last().message(),
              absl::StrCat(SignalName(signal),
                           " sent by bash (pid 812, uid 0, /system.slice/virtqemud.service) 10 s "
                           "ago, and QEMU has not ended; its threads: 1 D (waits in the kernel), 4 "
                           "S (sleeps)"));
    EXPECT_EQ(vm.Status().state(), VmState::kRunning);
    vm.Advance(absl::Seconds(10));
    EXPECT_THAT(vm.Last().message(), HasSubstr(" 20 s ago"));
    vm.Restart(absl::ZeroDuration());
    EXPECT_FALSE(vm.Status().problems().empty());
    vm.End(Signal(SIGKILL));
    EXPECT_TRUE(vm.Status().problems().empty());
  }
}

TEST_F(VmSessionSenderTest, ASignalAfterAnOldQemusShutdownIsNotItsCause) {
  const absl::Time reported = absl::FromUnixSeconds(1795157000);
  for (const bool before : {true, false}) {
    RunningVm vm;
    SignalSender sender = Process(SIGTERM);
    sender.sent = reported + absl::Microseconds(before ? -1 : 1);
    vm.Sent(sender);  // both were read at once
    vm.EventAt(reported, "SHUTDOWN", R"({"guest": false})");
    vm.End(Exited(0));
    ExpectVerdict(vm, ShutdownClass::kAdmin,
                  before ? ShutdownCause::kHostSignal : ShutdownCause::kHostRequest);
  }
}

// libvirtd sends a SIGTERM of its own as it reads the SHUTDOWN, before it passes that on.
TEST_F(VmSessionSenderTest, ASignalSentAfterTheShutdownIsNotItsCause) {
  const absl::Time reported = absl::FromUnixSeconds(1795157000);
  SignalSender first = Process(SIGTERM, "bash");
  first.pid = 4711;
  first.sent = reported - absl::Microseconds(1);
  SignalSender second = Process(SIGTERM, "libvirtd");
  second.sent = reported + absl::Microseconds(1);
  vm_.Sent(first);
  vm_.Sent(second);
  vm_.EventAt(reported, "SHUTDOWN", R"({"guest": false, "reason": "host-signal"})");
  vm_.End(Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
  EXPECT_EQ(vm_.Stopped().sender().command(), "bash");
  EXPECT_THAT(vm_.Last().message(), testing::StartsWith("bash (pid 4711, uid 0, "));
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              AllOf(HasSubstr("SIGTERM sent by bash"), Not(HasSubstr("libvirtd"))));
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
  const v1::SignalSender& kept = vm_.Stopped().sender();
  EXPECT_EQ(kept.signal(), SIGKILL);
  EXPECT_EQ(kept.pid(), 812);
  EXPECT_EQ(kept.uid(), sender.uid);
  EXPECT_EQ(kept.command(), "virtqemud");
  EXPECT_EQ(kept.executable(), "/usr/sbin/virtqemud");
  EXPECT_EQ(kept.cgroup(), "/system.slice/virtqemud.service");
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              AllOf(HasSubstr("SIGKILL sent by"), HasSubstr("SIGTERM sent by kill")));
}

TEST_F(VmSessionSenderTest, ASenderThatMayBeQemusChildIsNotAttributedToQemu) {
  for (const bool unproven : {false, true}) {
    RunningVm vm;
    SignalSender sender = Process(SIGKILL);
    sender.of_qemu = true;
    sender.descent_unproven = unproven;
    vm.Sent(sender);
    vm.End(Signal(SIGKILL));
    EXPECT_EQ(vm.Stopped().sender().of_qemu(), !unproven);
  }
}

STORY_SUITE(SenderStoryTest);

const StoryCase kSenders[] = {
    {"AKillByAnotherProcessIsAHostKill", "sent SIGKILL virtqemud; end SIGKILL",
     "ADMIN HOST_KILL; may not run; parent lives; container 0 none; rule killed-by-host; sender "
     "virtqemud; seen SIGKILL sent by virtqemud (pid "
     "812, uid 0, /system.slice/virtqemud.service)"},
    {"ASenderWhoLoggedInIsNamed", "sent SIGKILL bash login=1000; end SIGKILL",
     "ADMIN HOST_KILL; sender bash; login alice 1000 12 192.0.2.7; seen logged in as alice, "
     "session "
     "12, from 192.0.2.7)"},
    {"FactsThatWereReadBeforeItWasGoneStay",
     "sent SIGKILL virtqemud; sent SIGKILL rpc-virtqemud bare; end SIGKILL",
     "ADMIN HOST_KILL; sender virtqemud"},
    {"AKillWithoutAKnownSenderIsUnknown", "end SIGKILL", "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"AnOomKillNeedsNoKnownSender", "end SIGKILL oom", "CRASH OUT_OF_MEMORY"},
    {"AKillByQemuItselfIsACrash", "sent SIGKILL qemu-system-x86 own; end SIGKILL",
     "CRASH QEMU_KILLED; sender qemu-system-x86; unseen not recorded"},
    {"ASenderThatQemuMayHaveStartedIsUnknown", "sent SIGKILL bash orphan; restart 0s; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; sender bash; seen SIGKILL sent by bash (pid 812, uid "
     "0, /system.slice/virtqemud.service, perhaps QEMU's own: what started it is gone)"},
    {"AnIntentDecidesIfQemuMayHaveStartedTheSender",
     "declare; sent SIGKILL bash orphan; end SIGKILL", "ADMIN UNOBSERVED; intent intent-1"},
    {"ASenderThatQemuMayHaveStartedIsNoHostShutdown",
     "host down; sent SIGKILL bash orphan; end SIGKILL", "UNKNOWN UNOBSERVED"},
    {"AKernelsKillForItsParentIsUnknown", "sent SIGKILL parent; restart 0s; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; sender kernel; parent ended; seen SIGKILL sent by "
     "the "
     "kernel, because its parent python3 (pid 812) or a thread of it ended (its death signal)"},
    {"AKernelsKillForItsTracerIsUnknown", "sent SIGKILL tracer; restart 0s; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; sender kernel; seen SIGKILL sent by the kernel, "
     "because gdb (pid 812) ended, which traced it"},
    {"AnOomKillOfItsParentIsNotItsOwn", "sent SIGKILL parent; end SIGKILL oom",
     "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"AKernelsKillForTheParentOfItsContainerIsUnknown",
     "sent SIGKILL parent container=SIGKILL; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; seen ended after a SIGKILL of the kernel, because"},
    {"AKernelsKillForItsParentIsTheHostsShutdownThen",
     "host down; sent SIGKILL parent; end SIGKILL", "ADMIN HOST_SHUTDOWN"},
    {"ASigtermWithItsParentIsUnknown", "sent SIGTERM parent; SHUTDOWN host-signal; end 0",
     "UNKNOWN UNOBSERVED; rule signal-unclear; sender kernel"},
    {"ASigtermWithItsParentThatEndsItIsUnknown", "sent SIGTERM parent; end SIGTERM",
     "UNKNOWN UNOBSERVED; rule signal-unclear"},
    {"AnOldQemusSigtermWithItsParentIsUnknown", "sent SIGTERM parent; SHUTDOWN guest=false; end 0",
     "UNKNOWN UNOBSERVED; rule signal-unclear"},
    {"ASigquitWithItsParentIsUnknown", "sent SIGQUIT parent; end SIGQUIT",
     "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"AMemoryKillerThatQemuMayHaveStartedIsUnknown", "sent SIGKILL earlyoom orphan; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"AMemoryKillersSigtermThatQemuMayHaveSentIsUnknown",
     "sent SIGTERM earlyoom orphan; SHUTDOWN host-signal; end 0",
     "UNKNOWN UNOBSERVED; rule signal-unclear; sender earlyoom"},
    {"ASigtermThatQemuMayHaveSentIsObeyed", "sent SIGTERM bash orphan; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL; sender bash"},
    {"AKillByTheKernelIsACrash", "sent SIGKILL kernel; end SIGKILL",
     "CRASH QEMU_KILLED; sender kernel; seen SIGKILL sent by the kernel"},
    {"AKillOfTheContainerIsAHostKill",
     "sent SIGKILL runc container=SIGKILL; restart 0s; end SIGKILL",
     "ADMIN HOST_KILL; sender runc; container 4700 SIGKILL; seen SIGKILL sent by the kernel, "
     "because "
     "the first process of its container (pid 4700) ended after a SIGKILL of runc (pid 812, uid "
     "0,"},
    {"ATerminationOfTheContainerIsAHostKill",
     "sent SIGKILL runc container=SIGTERM; restart 0s; end SIGKILL",
     "ADMIN HOST_KILL; sender runc; seen ended after a SIGTERM of runc (pid 812, uid 0,"},
    {"AContainerThatEndsByItselfIsUnknown",
     "sent SIGKILL kernel container=0; restart 0s; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen; seen SIGKILL sent by the kernel, because the first "
     "process of its container (pid 4700) ended,"},
    {"AContainerThatTheKernelKillsIsACrash",
     "sent SIGKILL kernel container=SIGKILL; restart 0s; end SIGKILL",
     "CRASH QEMU_KILLED; sender kernel"},
    {"AContainerOfAVictimHidesNothing", "sent SIGKILL kernel container=0; victim; end SIGKILL",
     "CRASH OUT_OF_MEMORY"},
    {"AContainerOfAVictimThatWasAskedHidesNothing",
     "sent SIGKILL runc container=SIGTERM; victim; end SIGKILL", "CRASH OUT_OF_MEMORY"},
    {"AContainerThatEndsWithItsHostEndsByThat",
     "host down; sent SIGKILL kernel container=0; end SIGKILL", "ADMIN HOST_SHUTDOWN"},
    {"TheKernelsVictimIsOutOfMemory", "victim; end SIGKILL",
     "CRASH OUT_OF_MEMORY; seen the kernel named it as its OOM victim,"},
    {"ASignalThatIsObeyedLateIsAProblem",
     "sent SIGTERM virtqemud; wait 15s; problem SIGTERM sent by; SHUTDOWN host-signal; no problem; "
     "wait 10s; problem has not exited for 10 s after its shutdown; sent SIGKILL bash; wait 10s; "
     "problem SIGKILL sent by bash; end SIGKILL",
     "ADMIN HOST_SIGNAL; sender virtqemud; seen SIGTERM sent by virtqemud; seen SIGKILL sent by "
     "bash"},
    {"ASigquitIsTheHosts", "sent SIGQUIT bash; end SIGQUIT",
     "ADMIN HOST_KILL; rule ended-by-host; sender bash"},
    {"ASigquitThatQemuMayHaveSentIsUnknown", "sent SIGQUIT bash orphan; end SIGQUIT",
     "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"ASigquitThatNobodySawIsUnknown", "end SIGQUIT unrecorded",
     "UNKNOWN UNOBSERVED; rule killed-unseen; no sender; seen QEMU was ended by SIGQUIT; seen "
     "sender not recorded"},
    {"ASigquitBeforeAnotherSignalIsNotSeen",
     "sent SIGQUIT bash; sent SIGTERM virtqemud; end SIGQUIT",
     "UNKNOWN UNOBSERVED; rule killed-unseen; no sender"},
    {"ASigquitOfQemusIsACrash", "sent SIGQUIT bash own; end SIGQUIT", "CRASH QEMU_CRASHED"},
    {"ASigabrtIsACrash", "sent SIGABRT bash; end SIGABRT", "CRASH QEMU_CRASHED"},
    {"ASigsegvIsACrash", "sent SIGSEGV bash; end SIGSEGV", "CRASH QEMU_CRASHED"},
    // QEMU before 4.0 gives no reason.
    {"AnOldQemuObeysASigterm", "sent SIGTERM virtqemud; SHUTDOWN guest=false; restart 0s; end 0",
     "ADMIN HOST_SIGNAL; rule host-signal; sender virtqemud; file removed"},
    {"AnOldQemuObeysASigint", "sent SIGINT virtqemud; SHUTDOWN guest=false; restart 0s; end 0",
     "ADMIN HOST_SIGNAL; sender virtqemud"},
    {"AnOldQemuObeysASighup", "sent SIGHUP virtqemud; SHUTDOWN guest=false; restart 0s; end 0",
     "ADMIN HOST_SIGNAL; sender virtqemud"},
    {"AnOldQemuObeysAMemoryKiller", "sent SIGTERM earlyoom; SHUTDOWN guest=false; end 0",
     "CRASH OUT_OF_MEMORY"},
    {"AnOldQemusShutdownBeforeTheSignalNamesNoSender",
     "SHUTDOWN guest=false; sent SIGTERM virtqemud; end 0", "ADMIN HOST_REQUEST; no sender"},
    {"AnOldQemusOwnSignalNamesNoSender", "sent SIGTERM virtqemud own; SHUTDOWN guest=false; end 0",
     "ADMIN HOST_REQUEST; no sender"},
    {"ASignalExplainsNoShutdownThatNamesNobody", "sent SIGTERM virtqemud; SHUTDOWN; end 0",
     "UNKNOWN UNOBSERVED; rule shutdown-unexplained; no sender"},
    {"EarlyoomAsksFirst",
     "declare; sent SIGTERM earlyoom; SHUTDOWN host-signal; sent SIGKILL bash; end SIGKILL",
     "CRASH OUT_OF_MEMORY; rule memory-killer; sender earlyoom; intent intent-1"},
    {"NohangAsksFirst", "sent SIGTERM nohang; SHUTDOWN host-signal; end 0",
     "CRASH OUT_OF_MEMORY; rule memory-killer; sender nohang"},
    {"AMemoryKillersSignalBeforeAnothersEndedNothing",
     "sent SIGTERM earlyoom; sent SIGTERM systemd; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL"},
    {"AMemoryKillersSignalBeforeAQuitEndedNothing",
     "sent SIGTERM earlyoom; SHUTDOWN host-qmp-quit; end 0", "ADMIN HOST_QUIT"},
    {"AMemoryKillersSignalAtTheStartIsACrashOnceItRan", "sent SIGTERM earlyoom; end SIGTERM",
     "CRASH OUT_OF_MEMORY"},
    {"AMemoryKillersSignalBeforeItRanIsASignal",
     "new; ready prelaunch; sent SIGTERM earlyoom; end SIGTERM", "ADMIN HOST_SIGNAL"},
    {"AMemoryKillersNameIsNotBelievedOfQemusUser",
     "sent SIGKILL earlyoom uid=107 user; restart 0s; end SIGKILL", "ADMIN HOST_KILL"},
    {"AnOomKillOfANeighbourHidesNobody", "sent SIGKILL virtqemud; end SIGKILL oom",
     "ADMIN HOST_KILL"},
    {"AnOomKillOfAHelperDoesNotHideQemu", "sent SIGKILL helper own; victim; end SIGKILL oom",
     "CRASH QEMU_KILLED"},
    {"ASignalAfterTheOneThatWasObeyedEndedNothing",
     "sent SIGHUP first; sent SIGTERM virtqemud; SHUTDOWN host-signal; sent SIGTERM late; sent "
     "SIGINT later; end 0",
     "ADMIN HOST_SIGNAL; sender virtqemud; seen SIGTERM sent by virtqemud; unseen late"},
    {"TheTimelineHasTheLastOfManySignals",
     "POWERDOWN; sent SIGTERM one; sent SIGTERM two; sent SIGTERM one; sent SIGTERM two; sent "
     "SIGKILL virtqemud; end SIGKILL",
     "ADMIN HOST_KILL; seen POWERDOWN; seen SIGTERM sent by two; unseen SIGTERM sent by one"},
    {"TheSenderOfASignalThatDidNotEndQemuIsNotNamed",
     "sent SIGTERM virtqemud; SHUTDOWN guest-shutdown; end 0", "USER GUEST_POWEROFF; no sender"},
    {"AnExitBySignalNamesItsSender", "sent SIGTERM virtqemud; end SIGTERM",
     "ADMIN HOST_SIGNAL; sender virtqemud"},
    {"AnExitByAnotherSignalNamesNoSender", "sent SIGHUP virtqemud; end SIGTERM",
     "ADMIN HOST_SIGNAL; no sender"},
    {"AKillThatWasSeenNeedsNoExitStatus", "sent SIGKILL virtqemud; end", "ADMIN HOST_KILL"},
    {"TheReasonWhyTheSenderIsUnknownIsEvidence", "end SIGKILL unrecorded",
     "UNKNOWN UNOBSERVED; rule killed-unseen; no sender; seen sender not recorded"},
};
STORIES(SenderStoryTest, Senders, kSenders);

const StoryCase kSentences[] = {
    {"TheSentenceNamesTheSender", "sent SIGTERM virtqemud; SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL; sender virtqemud; seen virtqemud (pid 812, uid 0, ; seen ) sent QEMU "
     "SIGTERM. Seen:"},
    {"TheSentenceNamesTheSignal", "end SIGHUP", "ADMIN HOST_SIGNAL; seen QEMU was ended by SIGHUP"},
    {"TheSentenceSaysThatTheSignalIsUnknown", "SHUTDOWN host-signal; end 0",
     "ADMIN HOST_SIGNAL; seen the host sent QEMU a signal to end"},
    {"TheSentenceHasTheExitCode", "end 1",
     "CRASH QEMU_CRASHED; seen QEMU exited with code 1: an error of its own. Seen:"},
    {"TheSentenceSaysThatQemuAborted", "end SIGABRT",
     "CRASH QEMU_CRASHED; seen QEMU was killed by SIGABRT: a crash of QEMU itself. Seen:"},
    {"AnAbortByAnotherProcessNamesIt", "sent SIGABRT bash; end SIGABRT",
     "CRASH QEMU_CRASHED; sender bash; seen ) sent QEMU SIGABRT, which counts as a crash of QEMU. "
     "Seen:"},
    {"TheSentenceOfAFaultHasNoSender", "end SIGSEGV",
     "CRASH QEMU_CRASHED; seen QEMU was killed by SIGSEGV, whose sender is not recorded: it counts "
     "as a crash of QEMU. Seen:"},
    {"TheSentenceOfAContainersEndHasItsSender", "sent SIGKILL runc container=SIGTERM; end SIGKILL",
     "ADMIN HOST_KILL; sender runc; seen ) sent the first process of QEMU's container SIGTERM, "
     "with which the kernel killed QEMU. Seen:"},
    {"TheSentenceHasTheAgeOfThePowerdown", "POWERDOWN; wait 4s; SHUTDOWN guest-shutdown; end",
     "ADMIN HOST_POWERDOWN; seen the host pressed the power button, and the guest obeyed after 4 "
     "s. Seen:"},
};
STORIES(SenderStoryTest, Sentences, kSentences);

}  // namespace
}  // namespace vmeventd
