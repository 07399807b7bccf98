// Who sent the signal that ended a run.

#include <csignal>

#include "absl/strings/str_cat.h"
#include "base/signal_name.h"
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

TEST_F(VmSessionSenderTest, AnOldQemusShutdownBeforeTheSignalMayBeAnybodys) {
  const absl::Time said = absl::FromUnixSeconds(1795157000);
  for (const bool before : {true, false}) {
    RunningVm vm;
    SignalSender sender = Process(SIGTERM);
    sender.sent = said + absl::Microseconds(before ? -1 : 1);
    vm.Sent(sender);  // both were read at once
    vm.EventAt(said, "SHUTDOWN", R"({"guest": false})");
    vm.End(Exited(0));
    ExpectVerdict(vm, ShutdownClass::kAdmin,
                  before ? ShutdownCause::kHostSignal : ShutdownCause::kHostRequest);
  }
}

// libvirtd sends a SIGTERM of its own as it reads the SHUTDOWN, before it passes that on.
TEST_F(VmSessionSenderTest, ASignalSentSinceTheShutdownIsNotTheOneThatWasObeyed) {
  const absl::Time said = absl::FromUnixSeconds(1795157000);
  SignalSender first = Process(SIGTERM, "bash");
  first.pid = 4711;
  first.sent = said - absl::Microseconds(1);
  SignalSender second = Process(SIGTERM, "libvirtd");
  second.sent = said + absl::Microseconds(1);
  vm_.Sent(first);
  vm_.Sent(second);
  vm_.EventAt(said, "SHUTDOWN", R"({"guest": false, "reason": "host-signal"})");
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

}  // namespace
}  // namespace vmeventd
