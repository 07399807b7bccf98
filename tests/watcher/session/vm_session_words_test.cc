// QEMU's last words, which the end of a run waits for.

#include <csignal>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr char kTerminating[] = "qemu: terminating on signal 15 from pid 812 (/usr/sbin/virtqemud)";

class VmSessionWordsTest : public testing::Test {
 protected:
  VmSessionWordsTest() { Say("Assertion failed", LastWordsSource::kStandardError); }
  void Say(const std::string& line, LastWordsSource source = LastWordsSource::kJournal) {
    vm_.facts.words = {.lines = {line}, .source = source};
  }
  RunningVm vm_{SessionOptions{.last_words = true}};
};

TEST_F(VmSessionWordsTest, ACrashHasThem) {
  vm_.facts.peak_memory = 7;
  vm_.End(Signal(SIGABRT));
  ASSERT_TRUE(vm_.Stopped().end.has_value());
  EXPECT_THAT(vm_.Stopped().end->words.lines, ElementsAre("Assertion failed"));
  EXPECT_EQ(vm_.Stopped().end->peak_memory, 7);
  EXPECT_EQ(vm_.words_reads, 1);
  EXPECT_EQ(vm_.log, (std::vector<std::string>{"file-", "STOPPED"}));
}

TEST_F(VmSessionWordsTest, AnEndThatIsExplainedDoesNotWaitForThem) {
  vm_.EndBy("guest-shutdown", Exited(0));
  EXPECT_EQ(vm_.words_reads, 0);
  EXPECT_TRUE(vm_.Stopped().end.has_value());
}

TEST_F(VmSessionWordsTest, AnEndWaitsAndTakesNoOtherInput) {
  vm_.answers_words = false;
  vm_.Declare(absl::Seconds(1));
  vm_.End(Signal(SIGSEGV));
  EXPECT_FALSE(vm_.done);
  EXPECT_EQ(vm_.session().NextTick(), absl::InfiniteDuration());
  vm_.Advance(absl::Seconds(2));
  EXPECT_FALSE(vm_.done);
  vm_.AnswerWords();
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kQemuCrashed);
}

TEST_F(VmSessionWordsTest, AStartThatFailsHasThem) {
  SessionDriver vm(SessionOptions{.last_words = true});
  vm.facts.words = {.lines = {"Failed to get \"write\" lock"}};
  vm.Ready("prelaunch");
  vm.End(Exited(1));
  ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kNeverRan);
  EXPECT_THAT(vm.Stopped().end->words.lines, ElementsAre(HasSubstr("write")));
}

TEST_F(VmSessionWordsTest, TheyNameTheSenderThatTheKernelDidNot) {
  Say(kTerminating);
  vm_.EndBy("host-signal", Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
  ASSERT_TRUE(vm_.Stopped().sender.has_value());
  EXPECT_EQ(vm_.Stopped().sender->pid, 812);
  EXPECT_TRUE(vm_.Stopped().sender->said_by_qemu);
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              HasSubstr("SIGTERM sent by virtqemud (pid 812, as QEMU reports)"));
}

TEST_F(VmSessionWordsTest, WhatTheKernelShowedStands) {
  Say(kTerminating);
  vm_.Sent({.signal = SIGTERM, .pid = 5, .uid = 0, .command = "bash"});
  vm_.End(Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), Not(HasSubstr("virtqemud")));
}

TEST_F(VmSessionWordsTest, ASignalThatOnlyTheyTellOfIsTheHosts) {
  Say(kTerminating);
  vm_.End(Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
  EXPECT_EQ(vm_.Stopped().rule, "host-signal-words");
  EXPECT_EQ(vm_.Stopped().sender->pid, 812);
  EXPECT_EQ(vm_.log, (std::vector<std::string>{"file-", "STOPPED"}));
}

TEST_F(VmSessionWordsTest, TheyMakeNoCrashTheHosts) {
  for (const ProcessEnd& end : {Signal(SIGSEGV), Signal(SIGKILL), Exited(1)}) {
    RunningVm vm(SessionOptions{.last_words = true});
    vm.facts.words = {.lines = {kTerminating}, .source = LastWordsSource::kJournal};
    vm.End(end);
    EXPECT_EQ(vm.Stopped().shutdown_class, ShutdownClass::kCrash);
  }
}

TEST_F(VmSessionWordsTest, AFileThatOthersMayWriteDecidesNothing) {
  Say(kTerminating, LastWordsSource::kStandardError);
  vm_.End(Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_FALSE(vm_.Stopped().sender.has_value());
}

TEST_F(VmSessionWordsTest, AMemoryKillersNameInThemMakesNoCrash) {
  Say("qemu: terminating on signal 15 from pid 812 (/usr/bin/earlyoom)");
  vm_.EndBy("host-signal", Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
}

TEST_F(VmSessionWordsTest, ACoreIsEvidence) {
  vm_.facts.core = "coredumpctl info 4711";
  vm_.End({ExitStatus{0, SIGSEGV, true}, false});
  EXPECT_TRUE(vm_.Stopped().exit_status->core_dumped);
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), HasSubstr("core dumped: coredumpctl info 4711"));
}

}  // namespace
}  // namespace vmeventd
