#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/qmp/restart_fixture.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

// A daemon that was killed between the shutdown file and the journal.

class HalfFinishedEndTest : public RestartTest {
 protected:
  // Returns what was kept before the guest powered itself off.
  std::string EndByGuest(FakeQemu* qemu, bool process_lives = false) {
    const int monitor = qemu->AddMonitor(Socket("vm1"));
    Start();
    EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
    std::string kept = Kept().at(RunId("vm1"));
    // A file's time stands still between two ticks of the kernel.
    EXPECT_TRUE(StepUntil([] {}, [&] { return TimeOfNewFile() > TimeOf(Socket("vm1")); }));
    qemu->Send(monitor, kGuestShutdownLine);
    if (process_lives) {
      qemu->CloseListener(monitor);
      qemu->CloseClient(monitor);
    } else {
      qemu->Exit();
    }
    EXPECT_TRUE(Until([&] { return FileExists(ShutdownFile("vm1")); }));
    if (!process_lives) qemu->Reap();
    Die();
    return kept;
  }
  absl::Time TimeOf(const std::string& path) const {
    struct stat status {};
    EXPECT_EQ(lstat(path.c_str(), &status), 0);
    return absl::TimeFromTimespec(status.st_ctim);
  }
  absl::Time TimeOfNewFile() const {
    const std::string path = directory_.Path("probe");
    unlink(path.c_str());
    WriteFile(path);
    return TimeOf(path);
  }
  // The time before the restart does not count.
  int EndsSince(size_t entries) const {
    int count = 0;
    for (size_t i = entries; i < sink_.entries().size(); ++i) {
      const auto& event = sink_.entries()[i].update.event;
      if (event.has_value() && event->type == EventType::kStopped) ++count;
    }
    return count;
  }
};

TEST_F(HalfFinishedEndTest, IsFinished) {
  const std::string kept = EndByGuest(&qemu_);
  const size_t before = sink_.entries().size();
  StartWith({kept});
  ASSERT_TRUE(UntilScanned());
  EXPECT_EQ(EndsSince(before), 1);
  EXPECT_EQ(LastClass(), ShutdownClass::kUser);
  EXPECT_EQ(Stopped().cause, ShutdownCause::kGuestRequest);
  EXPECT_EQ(Stopped().rule, "shutdown-file-found");
  EXPECT_TRUE(Stopped().shutdown_file_written);
  EXPECT_TRUE(FileExists(ShutdownFile("vm1")));
  EXPECT_THAT(EvidenceText(), HasSubstr("shutdown file found, written by vmeventd at"));
}

TEST_F(HalfFinishedEndTest, IsFinishedWhenTheProcessIsGoneAtLast) {
  const std::string kept = EndByGuest(&qemu_, true);
  StartWith({kept});
  ASSERT_TRUE(UntilScanned());
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  StartWith({KeptRun()});
  ASSERT_TRUE(UntilScanned());
  KillUntilStopped(&qemu_);
  ExpectStopped(ShutdownClass::kUser, "shutdown-file-found");
  EXPECT_TRUE(FileExists(ShutdownFile("vm1")));
}

TEST_F(HalfFinishedEndTest, WasNoneIfTheVmLives) {
  const std::string kept = EndByGuest(&qemu_, true);
  ASSERT_EQ(unlink(Socket("vm1").c_str()), 0);
  StartWith({kept});
  ASSERT_TRUE(UntilScanned());
  qemu_.AddMonitor(Socket("vm1"));
  EXPECT_TRUE(Until([&] { return !FileExists(ShutdownFile("vm1")); }));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
}

TEST_F(HalfFinishedEndTest, AFileOfAnotherUserOrKindIsNoNoteOfOurs) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to give the file away";
  const std::string kept = EndByGuest(&qemu_);
  ASSERT_EQ(chown(ShutdownFile("vm1").c_str(), 65534, 65534), 0);
  StartWith({kept});
  ASSERT_TRUE(UntilScanned());
  EXPECT_EQ(LastClass(), ShutdownClass::kUnknown);
  EXPECT_TRUE(FileExists(ShutdownFile("vm1")));

  ASSERT_EQ(unlink(ShutdownFile("vm1").c_str()), 0);
  ASSERT_EQ(symlink("elsewhere", ShutdownFile("vm1").c_str()), 0);
  StartWith({kept});
  ASSERT_TRUE(UntilScanned());
  EXPECT_EQ(LastClass(), ShutdownClass::kUnknown);
}

TEST_F(HalfFinishedEndTest, AnotherRunsFileUnderThisOnesNameIsNoNoteOfThisOne) {
  FakeQemu victim;
  Follow(&victim, "victim");
  const std::string kept = KeptRun();
  Die();
  FakeQemu forger;
  EndByGuest(&forger);
  ASSERT_EQ(std::rename(ShutdownFile("vm1").c_str(), ShutdownFile("victim").c_str()), 0);
  victim.KillAndReap();
  StartWith({kept});
  ASSERT_TRUE(UntilScanned());
  EXPECT_EQ(LastClass(), ShutdownClass::kUnknown);
  EXPECT_THAT(EvidenceText(), testing::Not(HasSubstr("shutdown file")));
}

TEST_F(HalfFinishedEndTest, AFileThatCameWithALaterRunIsNotOfThisOne) {
  const std::string kept = EndByGuest(&qemu_);
  ASSERT_EQ(unlink(ShutdownFile("vm1").c_str()), 0);
  ASSERT_EQ(unlink(Socket("vm1").c_str()), 0);
  FakeQemu later;
  later.AddMonitor(Socket("vm1"));
  EXPECT_TRUE(StepUntil([] {}, [&] { return TimeOfNewFile() > TimeOf(Socket("vm1")); }));
  WriteFile(ShutdownFile("vm1"));
  StartWith({kept});
  ASSERT_TRUE(UntilScanned());
  EXPECT_EQ(LastClass(), ShutdownClass::kUnknown);
  EXPECT_TRUE(FileExists(ShutdownFile("vm1")));
}

}  // namespace
}  // namespace vmeventd
