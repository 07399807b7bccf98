// QEMU's last words, which the end of a run waits for.

#include <csignal>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/process_ends.h"
#include "tests/watcher/session/running_vm.h"
#include "tests/watcher/session/session_driver.h"
#include "tests/watcher/session/story_suite.h"
#include "tests/watcher/session/verdicts.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class VmSessionWordsTest : public testing::Test {
 protected:
  VmSessionWordsTest() { vm_.SetWords("Assertion failed", LastWordsSource::kStandardError); }
  RunningVm vm_{SessionOptions{.last_words = true}};
};

TEST_F(VmSessionWordsTest, ACrashHasLastWords) {
  vm_.facts.mutable_numbers()->set_peak_memory_bytes(7);
  vm_.End(Signal(SIGABRT));
  ASSERT_TRUE(vm_.Stopped().has_last_words());
  EXPECT_THAT(vm_.Stopped().last_words().lines(), ElementsAre("Assertion failed"));
  EXPECT_EQ(vm_.Stopped().numbers().peak_memory_bytes(), 7);
  EXPECT_EQ(vm_.words_reads, 1);
  EXPECT_EQ(vm_.log, (std::vector<std::string>{"file-", "STOPPED"}));
}

TEST_F(VmSessionWordsTest, AnExplainedEndDoesNotWaitForLastWords) {
  vm_.EndBy("guest-shutdown", Exited(0));
  EXPECT_EQ(vm_.words_reads, 0);
  EXPECT_TRUE(vm_.Stopped().has_numbers());
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

TEST_F(VmSessionWordsTest, AFailedStartHasLastWords) {
  SessionDriver vm(SessionOptions{.last_words = true});
  vm.SetWords("Failed to get \"write\" lock", LastWordsSource::kLibvirtLog);
  vm.Ready("prelaunch");
  vm.End(Exited(1));
  ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kNeverRan);
  EXPECT_THAT(vm.Stopped().last_words().lines(), ElementsAre(HasSubstr("write")));
  EXPECT_EQ(vm.Stopped().last_words().source(), v1::LAST_WORDS_SOURCE_LIBVIRT_LOG);
}

TEST_F(VmSessionWordsTest, LastWordsNameTheSenderIfTheKernelDidNot) {
  vm_.SetWords("terminating on signal 15 from pid 812 (/usr/sbin/virtqemud)",
               LastWordsSource::kJournal);
  vm_.EndBy("host-signal", Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
  ASSERT_TRUE(vm_.Stopped().has_sender());
  EXPECT_EQ(vm_.Stopped().sender().pid(), 812);
  EXPECT_TRUE(vm_.Stopped().sender().from_last_words());
  EXPECT_EQ(vm_.Stopped().last_words().source(), v1::LAST_WORDS_SOURCE_JOURNAL);
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              HasSubstr("SIGTERM sent by virtqemud (pid 812, as QEMU reports)"));
}

// Words on standard error confirm too, though its file may have other writers.
TEST_F(VmSessionWordsTest, LastWordsConfirmTheSenderOfTheKernel) {
  for (const int64_t pid : {812, 813}) {
    RunningVm vm{SessionOptions{.last_words = true}};
    vm.SetWords("terminating on signal 15 from pid 812 (bash)", LastWordsSource::kStandardError);
    vm.Held();
    vm.Sent({.signal = SIGTERM, .pid = pid, .uid = 0, .command = "bash"});
    vm.End(Exited(0));
    ExpectVerdict(vm, pid == 812 ? ShutdownClass::kAdmin : ShutdownClass::kUnknown,
                  pid == 812 ? ShutdownCause::kHostSignal : ShutdownCause::kUnobserved);
  }
}

TEST_F(VmSessionWordsTest, LastWordsDoNotOverrideTheKernelsReportOfAMemoryKiller) {
  for (const bool of_qemu : {true, false}) {
    RunningVm vm{SessionOptions{.last_words = true}};
    vm.SetWords("terminating on signal 15 from pid 812 (earlyoom)", LastWordsSource::kJournal);
    vm.Held();
    vm.Sent({.signal = SIGTERM,
             .pid = 812,
             .uid = 0,
             .command = "earlyoom",
             .executable = "/usr/bin/earlyoom",
             .of_qemu = of_qemu});
    vm.End(Exited(0));
    ExpectVerdict(vm, of_qemu ? ShutdownClass::kUnknown : ShutdownClass::kCrash,
                  of_qemu ? ShutdownCause::kUnobserved : ShutdownCause::kOutOfMemory);
  }
}

TEST_F(VmSessionWordsTest, ACoreIsEvidence) {
  vm_.facts.set_core("coredumpctl info 4711");
  vm_.End({ExitStatus{0, SIGSEGV, true}, false});
  EXPECT_TRUE(vm_.Stopped().exit_signal().core_dumped());
  EXPECT_EQ(vm_.Stopped().core(), "coredumpctl info 4711");
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), HasSubstr("core dumped: coredumpctl info 4711"));
}

STORY_SUITE(WordsStoryTest);

#define TERMINATING "terminating on signal 15 from pid 812 (/usr/sbin/virtqemud)"
const StoryCase kWords[] = {
    {"ASignalThatOnlyLastWordsNameIsTheHosts", "words journal " TERMINATING "; end 0",
     "ADMIN HOST_SIGNAL; rule host-signal-words; sender virtqemud"},
    {"TheKernelsSenderOutranksLastWords",
     "words journal " TERMINATING "; sent SIGTERM bash pid=813; end 0",
     "UNKNOWN UNOBSERVED; unseen virtqemud (pid 812, as QEMU"},
    {"LastWordsDoNotMakeASegvTheHosts", "words journal " TERMINATING "; end SIGSEGV",
     "CRASH QEMU_CRASHED"},
    {"LastWordsDoNotMakeAKillTheHosts", "words journal " TERMINATING "; end SIGKILL",
     "UNKNOWN UNOBSERVED; rule killed-unseen"},
    {"LastWordsDoNotReplaceTheSenderOfAKill",
     "words journal " TERMINATING "; sent SIGKILL kernel; end",
     "CRASH QEMU_KILLED; sender kernel; unseen virtqemud"},
    {"LastWordsDoNotMakeAnErrorTheHosts", "words journal " TERMINATING "; end 1",
     "CRASH QEMU_CRASHED"},
    {"AFileThatOthersMayWriteDecidesNothing", "words file " TERMINATING "; end 0",
     "UNKNOWN UNOBSERVED; no sender"},
    {"OtherWordsOfALaterQemuAreUnknown",
     "words journal terminating: signal 15 of process 812 (/usr/sbin/virtqemud); end 0",
     "UNKNOWN UNOBSERVED; no sender"},
    {"OtherWordsOfALaterQemuConfirmNoSender",
     "held; words journal terminating: signal 15 of process 812 (bash); sent SIGTERM bash; end 0",
     "UNKNOWN UNOBSERVED"},
    {"OtherWordsOfALaterQemuChangeNoShutdown",
     "words journal terminating: signal 15 of process 812 (/usr/bin/earlyoom); SHUTDOWN "
     "host-signal; end 0",
     "ADMIN HOST_SIGNAL; no sender"},
    {"AMemoryKillersNameInLastWordsMakesNoCrash",
     "words journal terminating on signal 15 from pid 812 (/usr/bin/earlyoom); SHUTDOWN "
     "host-signal; end 0",
     "ADMIN HOST_SIGNAL; sender earlyoom"},
};
STORIES(WordsStoryTest, Words, kWords);

// A QEMU stays alive after the unseen shutdown of its guest.
const StoryCase kDowns[] = {
    {"ASigtermIsUnknown",
     "new; stays-down; held; words file terminating on signal 15 from pid 812 (bash); sent SIGTERM "
     "bash; gone 0",
     "UNKNOWN UNOBSERVED; rule down-unseen; seen another client held the monitor"},
    {"AKillIsUnknown", "new; stays-down; held; sent SIGKILL bash; gone SIGKILL",
     "UNKNOWN UNOBSERVED; rule down-unseen"},
    {"AKillAfterARestartIsUnknown", "stays-down; lost; restart; sent SIGKILL bash; gone SIGKILL",
     "UNKNOWN UNOBSERVED; rule down-unseen"},
    {"AKillOfWhichNobodySawTheSenderIsUnknown", "stays-down; lost; gone SIGKILL",
     "UNKNOWN UNOBSERVED; rule down-unseen"},
    {"AMonitorThatIsFollowedShowsAKill", "stays-down; sent SIGKILL bash; end SIGKILL",
     "ADMIN HOST_KILL"},
    {"AQemuThatDoesNotStayWasNotDown", "lost; sent SIGKILL bash; gone SIGKILL", "ADMIN HOST_KILL"},
    {"ACrashIsACrash", "stays-down; lost; gone SIGSEGV", "CRASH QEMU_CRASHED"},
    {"LibvirtEndsAQemuThatItFinds",
     "libvirt; ready; lost; words file " TERMINATING "; sent SIGTERM virtqemud; gone 0",
     "UNKNOWN UNOBSERVED; rule down-unseen; sender virtqemud"},
    {"LibvirtThatIsBackEndsAQemuThatItFinds",
     "libvirt; ready; lost; words file " TERMINATING
     "; sent SIGTERM virtqemud; ready; reported shutdown; gone 0",
     "UNKNOWN UNOBSERVED; rule down-unseen"},
    {"LibvirtIsNamedByWordsAlone", "libvirt; ready; lost; words journal " TERMINATING "; gone 0",
     "UNKNOWN UNOBSERVED; rule down-unseen"},
    {"LibvirtKillsAQemuThatItFinds", "libvirt; ready; lost; sent SIGKILL libvirtd; gone SIGKILL",
     "UNKNOWN UNOBSERVED; rule down-unseen"},
    {"LibvirtThatReportsADestroyHasDestroyedIt",
     "libvirt; ready; sent SIGTERM virtqemud; reported destroyed; gone 0",
     "ADMIN HOST_DESTROY; file none"},
    {"LibvirtThatReportsASaveHasSavedIt",
     "libvirt; ready; sent SIGTERM virtqemud; SHUTDOWN host-signal; reported saved; gone 0",
     "ADMIN HOST_SAVE; rule manager-saved; file none"},
    {"LibvirtThatReportsAnOrderlyEndDoesNotShowWhoseItWas",
     "libvirt; ready; lost; reported shutdown; gone 0",
     "UNKNOWN UNOBSERVED; rule manager-shutdown"},
    {"AKillByAnotherThanLibvirtIsTheHosts",
     "libvirt; ready; lost; words file terminating on signal 15 from pid 812 (bash); sent SIGTERM "
     "bash; gone 0",
     "ADMIN HOST_SIGNAL; rule host-signal-words; file none"},
};
#undef TERMINATING
STORIES(WordsStoryTest, Downs, kDowns);

}  // namespace
}  // namespace vmeventd
