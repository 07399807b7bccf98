#include "watcher/runs/last_words.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/child_process.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

using e2e::ChildProcess;
using testing::ElementsAre;

class LastWordsTest : public testing::Test {
 protected:
  // A process that writes to its standard error, which `redirection` sets.
  void Start(const std::string& redirection) {
    child_ = std::make_unique<ChildProcess>(e2e::ChildOptions{
        .arguments = {"/bin/sh", "-c",
                      "exec " + redirection + "; echo begun; read line; echo $line >&2"}});
    child_->ReadUntil("begun");
    run_.pid = child_->pid();
    const auto process = IdentifyByPid(run_.pid);
    ASSERT_TRUE(process.ok()) << process.status();
    run_.start_ticks = process->start_ticks;
    run_.process_start = ProcessStartTime(run_.start_ticks) + started_later_;
    trail_ = reader_.Begin(run_);
  }
  // Lets it write its last words, and reads them.
  v1::ShutdownDetail End(const std::string& words, const ExitStatus& status = {}) {
    e2e::WaitUntil("its files are looked at", [this] { return LastWordsReader::IsReady(*trail_); });
    child_->Write(words + "\n");
    child_->Wait();
    const auto read = reader_.BeginRead(run_, status, trail_);
    e2e::WaitUntil("it is read", [&] { return read->done.load(); });
    v1::ShutdownDetail facts = read->facts;
    facts.set_core(read->core);
    return facts;
  }
  std::string File() const { return dir_ / "error"; }

  const TemporaryDirectory dir_;
  const std::string logs_ = dir_ / "libvirt/qemu";
  LastWordsReader reader_{1, absl::InfiniteDuration()};
  absl::Duration started_later_;  // than it was
  RunInfo run_;
  std::unique_ptr<ChildProcess> child_;
  std::shared_ptr<const LastWordsReader::Trail> trail_;
};

TEST_F(LastWordsTest, AFileOfThisLifeAloneIsReadFromItsBeginning) {
  Start("2>" + File() + "; echo early >&2");
  const v1::ShutdownDetail facts = End("late");
  EXPECT_THAT(facts.last_words().lines(), ElementsAre("early", "late"));
  EXPECT_EQ(facts.last_words().source(), v1::LAST_WORDS_SOURCE_STANDARD_ERROR);
  EXPECT_EQ(facts.core(), "");
}

TEST_F(LastWordsTest, InAFileWithEarlierLivesOnlyThisLifeIsRead) {
  std::ofstream(File()) << "of an earlier life\n";
  started_later_ = absl::Seconds(10);  // so that the file is older
  Start("2>>" + File());
  EXPECT_THAT(End("late").last_words().lines(), ElementsAre("late"));
}

TEST_F(LastWordsTest, AFileThatWasMovedAwayIsStillRead) {
  Start("2>" + File());
  e2e::WaitUntil("its files are looked at", [this] { return LastWordsReader::IsReady(*trail_); });
  ASSERT_EQ(rename(File().c_str(), (File() + ".1").c_str()), 0);
  std::ofstream(File()) << "another's\n";
  EXPECT_THAT(End("late").last_words().lines(), ElementsAre("late"));
}

TEST_F(LastWordsTest, AFileThatIsNotRegularIsNotRead) {
  ASSERT_EQ(mkfifo(File().c_str(), 0600), 0);
  for (const std::string& error : {std::string("/dev/null"), "<>" + File()}) {
    Start(error[0] == '<' ? "2" + error : "2>" + error);
    EXPECT_FALSE(End("late").has_last_words());
  }
}

TEST_F(LastWordsTest, NothingIsReadBeyondTheMaximumNumberOfOpenFiles) {
  Start("2>" + File());
  e2e::WaitUntil("its files are looked at", [this] { return LastWordsReader::IsReady(*trail_); });
  const auto first = std::move(child_);
  const auto held = trail_;
  Start("2>" + (dir_ / "other"));
  EXPECT_FALSE(End("late").has_last_words());
}

TEST_F(LastWordsTest, ACoreIsNamedAsTheKernelNamesIt) {
  Start("2>" + File());
  EXPECT_NE(End("late", {.signal = SIGABRT, .core_dumped = true}).core(), "");
}

// A machine under load reads too late for the STOPPED.
TEST_F(LastWordsTest, ACoreIsNamedBeforeAnythingIsRead) {
  Start("2>" + File());
  const auto read = reader_.BeginRead(run_, ExitStatus{.signal = SIGSEGV, .core_dumped = true}, {});
  EXPECT_NE(read->core, "");
  child_->Write("late\n");
  child_->Wait();
}

// As Ganeti starts a QEMU, with -D and -daemonize; vmeventd's user may not see its descriptors.
TEST_F(LastWordsTest, WithoutADescriptorLastWordsAreReadFromTheManagersLog) {
  std::filesystem::create_directories(logs_);
  run_.name = run_.raw_name = "web1";
  run_.unit = "ganeti.service";
  run_.log.directory = logs_;
  Start("2>/dev/null");
  std::ofstream(logs_ + "/web1.log") << "a failed assertion\n";
  const v1::ShutdownDetail facts = End("");
  EXPECT_THAT(facts.last_words().lines(), ElementsAre("a failed assertion"));
  EXPECT_EQ(facts.last_words().source(), v1::LAST_WORDS_SOURCE_STANDARD_ERROR);
}

// libvirt's logs. The reader would wait for ever for words that may come late.
class LibvirtLogTest : public LastWordsTest {
 protected:
  LibvirtLogTest() {
    std::filesystem::create_directories(logs_);
    const std::string now =
        absl::FormatTime("%Y-%m-%d %H:%M:%E3S%z", absl::Now(), absl::UTCTimeZone());
    std::ofstream(Log()) << now << ": starting up libvirt version: 9.0.0\nqemu-kvm -name web1\n";
    run_.name = run_.raw_name = "web1";
    run_.log = {logs_, LastWordsSource::kLibvirtLog};
  }
  std::string Log() const { return logs_ + "/web1.log"; }
};

TEST_F(LibvirtLogTest, TextThatQemuWroteItselfIsReadAtItsEnd) {
  Start("2>>" + Log());
  EXPECT_THAT(End("late").last_words().lines(), ElementsAre("late"));
}

// A QEMU of libvirt that is followed by a monitor of its own.
TEST_F(LibvirtLogTest, TheLogIsRecognizedWhoeverFollowsItsQemu) {
  run_.log = {};
  started_later_ = absl::Seconds(3);  // so that the file is older
  Start("2>>" + Log() + "; echo early >&2");
  const v1::ShutdownDetail facts = End("late");
  EXPECT_THAT(facts.last_words().lines(), ElementsAre("early", "late"));
  EXPECT_EQ(facts.last_words().source(), v1::LAST_WORDS_SOURCE_LIBVIRT_LOG);
}

TEST_F(LibvirtLogTest, TextThatLibvirtWritesLateIsWaitedFor) {
  Start("2>/dev/null");
  const auto read = reader_.BeginRead(run_, ExitStatus{.code = 1}, trail_);
  std::ofstream(Log(), std::ios::app) << "late\n";
  e2e::WaitUntil("it is read", [&] { return read->done.load(); });
  EXPECT_THAT(read->facts.last_words().lines(), ElementsAre("late"));
}

TEST_F(LibvirtLogTest, NobodyWaitsForTheLogOfAKilledQemu) {
  Start("2>/dev/null");
  EXPECT_FALSE(End("", {.signal = SIGKILL}).has_last_words());
}

}  // namespace
}  // namespace vmeventd
