// How a run ends, by what the kernel reports of its process.

#include <csignal>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/problem_texts.h"
#include "tests/watcher/session/process_ends.h"
#include "tests/watcher/session/running_vm.h"
#include "tests/watcher/session/session_driver.h"
#include "tests/watcher/session/verdicts.h"

namespace vmeventd {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

using VmSessionExitTest = RunningVmTest;

// Nothing is asked after a SHUTDOWN, so the handshake does not end.
TEST_F(VmSessionExitTest, AQemuThatHangsInItsExitSinceItsHandshakeIsListed) {
  SessionDriver vm;
  vm.Shutdown("host-signal");
  vm.Advance(absl::Seconds(4));
  EXPECT_THAT(vm.Types(), IsEmpty());
  vm.Advance(absl::Seconds(1));
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted, EventType::kGuestShutdown));
  EXPECT_EQ(vm.Status().state(), VmState::kGuestDown);
  EXPECT_EQ(vm.Last().shutdown().process_end_case(), v1::ShutdownDetail::PROCESS_END_NOT_SET);
  vm.Advance(absl::Minutes(1));
  EXPECT_THAT(ProblemTexts(vm.Status().problems()), Contains(HasSubstr("EXIT_LATE: ")));
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
}

TEST_F(VmSessionExitTest, TheOomCountIsSaved) {
  vm_.OomKills(7);
  EXPECT_THAT(vm_.saved, Not(HasSubstr("oom")));  // no file has the count
  EXPECT_EQ(vm_.session().run().oom_kills, 7u);
}

// QEMU that does not exit

const char* const kHangs = "has not exited for";

std::vector<std::string> HangProblems(const SessionDriver& vm) {
  std::vector<std::string> reported;
  for (const v1::Vm& status : vm.statuses) {
    for (const std::string& problem : ProblemTexts(status.problems())) {
      if (problem.find(kHangs) == std::string::npos) continue;
      if (reported.empty() || reported.back() != problem) reported.push_back(problem);
    }
  }
  return reported;
}

using VmSessionHangTest = RunningVmTest;

TEST_F(VmSessionHangTest, NoExitIsExpectedAfterAReset) {
  vm_.Shutdown("guest-shutdown");
  vm_.Event("RESET");
  for (int second = 0; second < 15; ++second) vm_.Advance(absl::Seconds(1));
  EXPECT_THAT(HangProblems(vm_), IsEmpty());
}

TEST_F(VmSessionHangTest, TheProblemOfAQemuThatDoesNotExitIsUpdatedRarely) {
  vm_.Shutdown("host-qmp-quit");
  vm_.Closed();
  for (int second = 0; second < 45; ++second) vm_.Advance(absl::Seconds(1));
  EXPECT_THAT(HangProblems(vm_),
              ElementsAre("EXIT_LATE: QEMU has not exited for 10 s after its shutdown",
                          "EXIT_LATE: QEMU has not exited for 20 s after its shutdown",
                          "EXIT_LATE: QEMU has not exited for 40 s after its shutdown"));
  EXPECT_THAT(vm_.Types(), Not(Contains(EventType::kStopped)));
  EXPECT_EQ(vm_.Status().state(), VmState::kGuestDown);
  vm_.Gone(Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostQuit);
  EXPECT_THAT(vm_.statuses.back().problems(), IsEmpty());
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
  vm_.Event("STOP");
  vm_.Event("RESUME");
  vm_.Advance(absl::Seconds(30));
  EXPECT_EQ(vm_.queries, 6);
}

TEST_F(HangCheckTest, AQemuThatDoesNotAnswerIsUnreachableUntilItDoes) {
  vm_.threads = "5 T (stopped)";
  vm_.Advance(absl::Seconds(30));
  vm_.Advance(absl::Seconds(10) - absl::Milliseconds(1));
  EXPECT_EQ(vm_.Status().state(), VmState::kRunning);
  vm_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(vm_.Status().state(), VmState::kUnreachable);
  EXPECT_THAT(ProblemTexts(vm_.Status().problems()),
              ElementsAre("NO_ANSWER: QEMU does not answer; its threads: 5 T (stopped)"));
  vm_.Advance(absl::Minutes(5));
  vm_.HandOver(absl::ZeroDuration());
  EXPECT_EQ(vm_.Status().state(), VmState::kUnreachable);
  vm_.RunState("running");
  EXPECT_EQ(vm_.Status().state(), VmState::kRunning);
  EXPECT_THAT(vm_.Status().problems(), IsEmpty());
  vm_.EndBy("guest-shutdown", Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

TEST_F(HangCheckTest, AFrozenQemuIsReportedAsFrozen) {
  vm_.threads = "5 S (sleeps)";
  vm_.frozen_by = "/sys/fs/cgroup/freezer/docker/0a";
  vm_.Advance(absl::Seconds(30));
  vm_.Advance(absl::Seconds(10));
  ASSERT_EQ(vm_.Status().problems_size(), 1);
  EXPECT_EQ(vm_.Status().problems(0).code(), v1::PROBLEM_CODE_FROZEN);
  EXPECT_EQ(vm_.Status().problems(0).text(),
            "QEMU does not answer: it is frozen with its cgroup, /sys/fs/cgroup/freezer/docker/0a, "
            "as by docker pause or systemctl freeze");
  vm_.RunState("running");
  EXPECT_THAT(vm_.Status().problems(), IsEmpty());
}

TEST_F(HangCheckTest, AQemuThatDumpsItsCoreIsReportedAsDumping) {
  vm_.dumps_core = true;
  vm_.Advance(absl::Seconds(30));
  vm_.Advance(absl::Seconds(10));
  ASSERT_EQ(vm_.Status().problems_size(), 1);
  EXPECT_EQ(vm_.Status().problems(0).code(), v1::PROBLEM_CODE_CORE_DUMPING);
  EXPECT_EQ(vm_.Status().problems(0).text(),
            "QEMU does not answer: it has crashed, and the kernel writes its core");
}

TEST_F(HangCheckTest, ARunStateThatWasNotReportedAtTheConnectionIsAskedForLater) {
  vm_.Closed();
  vm_.Ready("");
  EXPECT_THAT(ProblemTexts(vm_.Status().problems()),
              ElementsAre("NO_ANSWER: QEMU did not answer query-status"));
  vm_.Advance(absl::Seconds(30));
  EXPECT_EQ(vm_.queries, 1);
  vm_.RunState("running");
  EXPECT_THAT(vm_.Status().problems(), IsEmpty());
}

TEST_F(HangCheckTest, NoCommandIsSentToAQemuThatMayBeEnding) {
  for (const char* how : {"SHUTDOWN", "SIGTERM", "closed"}) {
    RunningVm vm({.hang_check = absl::Seconds(30)});
    if (how == std::string("SHUTDOWN")) vm.Shutdown("guest-shutdown");
    if (how == std::string("SIGTERM")) vm.Sent({.signal = SIGTERM, .pid = 812});
    if (how == std::string("closed")) vm.Closed();
    vm.Advance(absl::Minutes(1));
    vm.Advance(absl::Minutes(1));
    EXPECT_EQ(vm.queries, 0) << how;
    EXPECT_THAT(ProblemTexts(vm.Status().problems()), Not(Contains(HasSubstr("does not answer"))));
  }
}

}  // namespace
}  // namespace vmeventd
