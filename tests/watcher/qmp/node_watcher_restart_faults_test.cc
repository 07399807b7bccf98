#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/problem_texts.h"
#include "tests/watcher/qmp/node_watcher_fixture.h"

namespace vmeventd {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using RestartFaultsTest = RestartTest;

TEST_F(RestartFaultsTest, WhatCannotBeRestoredIsGivenUpAndTheOthersGoOn) {
  const int monitor = Follow(&qemu_);
  const std::string kept = KeptRun();
  StartWith({"", "garbage \xff", kept, kept.substr(0, kept.size() / 2), "{}",
             Changed(kept, [](internal::RunState* state) { state->set_format(1); }), kept});
  ASSERT_TRUE(Until([&] { return Handshakes(qemu_, monitor) == 2; }));
  EXPECT_EQ(watcher_->counters().unreadable_runs, 6u);
  EXPECT_THAT(sink_.Types(), ElementsAre(EventType::kStarted));
}

TEST_F(RestartFaultsTest, AThousandRunsGoOnAndEnd) {
  constexpr int kRuns = 1000;
  options_.process_tracking = false;  // one process stands for all
  for (int i = 0; i < kRuns; ++i) qemu_.AddMonitor(Socket("vm" + std::to_string(i)));
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, kRuns));
  RestartUntilScanned();
  ASSERT_TRUE(Until([&] { return qemu_.HasClient(kRuns - 1); }));
  EXPECT_EQ(sink_.Count(EventType::kStarted), kRuns);
  Die();
  qemu_.KillAndReap();
  RestartUntilScanned();
  EXPECT_EQ(sink_.Count(EventType::kStopped), kRuns);
  EXPECT_THAT(Kept(), IsEmpty());
}

TEST_F(RestartFaultsTest, SocketsThatGoBeforeTheyAreTriedDoNotHoldTheFirstScanUp) {
  constexpr int kVms = 8;
  constexpr int kLeftovers = 900;  // a turn tries 256
  std::vector<std::unique_ptr<FakeQemu>> qemus;
  for (int i = 0; i < kVms; ++i) {
    qemus.push_back(std::make_unique<FakeQemu>());
    qemus.back()->AddMonitor(Socket("vm" + std::to_string(i)));
  }
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, kVms));
  Die();
  {
    FakeQemu leftovers;
    for (int i = 0; i < kLeftovers; ++i) {
      leftovers.AddMonitor(Socket("left" + std::to_string(i)), {.listen = false});
    }
  }
  Restart();
  Turn();
  ASSERT_FALSE(watcher_->first_scan_done());
  for (const auto& qemu : qemus) qemu->Unlink(0);
  ASSERT_TRUE(UntilScanned());
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0) << "their processes live";
}

TEST_F(RestartFaultsTest, AFullDescriptorTableEndsNoRun) {
  FakeQemu lives;
  FakeQemu ends;
  const int monitor = lives.AddMonitor(Socket("vm1"));
  ends.AddMonitor(Socket("vm2"));
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  options_.saved_runs = KeptTexts();
  StartWithManualClock();
  {
    const FullDescriptorTable full;
    Turn();
    EXPECT_TRUE(HasProblem("vm1", "LimitNOFILE"));
    EXPECT_TRUE(HasProblem("vm2", "LimitNOFILE"));
    EXPECT_TRUE(watcher_->first_scan_done());
    EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
    ends.Kill(SIGKILL);
  }
  ASSERT_TRUE(UntilInTime([&] { return sink_.Count(EventType::kStopped) == 1; }));
  EXPECT_EQ(sink_.Latest("vm2")->state, VmState::kStopped);
  ASSERT_TRUE(UntilInTime([&] { return Handshakes(lives, monitor) == 2; }));
  ASSERT_TRUE(UntilProblem("vm1", ""));
  lives.Kill(SIGKILL);
  ASSERT_TRUE(UntilCount(EventType::kStopped, 2));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 2);
}

TEST_F(RestartFaultsTest, BeyondTheDescriptorLimitARunWaitsForItsProcess) {
  FakeQemu first;
  FakeQemu second;
  first.AddMonitor(Socket("vm1"));
  second.AddMonitor(Socket("vm2"));
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  Die();
  options_.max_vm_descriptors = 1;
  RestartUntilScanned();
  EXPECT_TRUE(HasProblem("vm1", "LimitNOFILE") || HasProblem("vm2", "LimitNOFILE"));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  first.Kill(SIGKILL);
  ASSERT_TRUE(UntilState("vm1", VmState::kStopped));
  second.Kill(SIGKILL);
  ASSERT_TRUE(UntilState("vm2", VmState::kStopped));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 2);
}

TEST_F(RestartFaultsTest, PublishRunsAgainPublishesEachOpenRunOnce) {
  FakeMonitor behavior{.uuid = "550e8400-e29b-41d4-a716-446655440000"};
  FakeQemu second;
  qemu_.AddMonitor(Socket("vm1"), behavior);
  second.AddMonitor(Socket("vm2"), behavior);
  Start();
  ASSERT_TRUE(UntilProblem("vm1", "its UUID"));
  ASSERT_TRUE(UntilProblem("vm2", "its UUID"));
  ASSERT_TRUE(UntilAgentsKnown());  // nothing else is published then
  for (const bool restarted : {false, true}) {
    if (restarted) Restart();
    const auto kept = Kept();
    const size_t before = sink_.entries().size();
    watcher_->PublishRunsAgain();
    Turn();
    std::map<std::string, std::string> published;
    for (size_t i = before; i < sink_.entries().size(); ++i) {
      const VmUpdate& update = sink_.entries()[i].update;
      if (!update.saved_run.has_value()) continue;
      EXPECT_FALSE(update.event.has_value());
      EXPECT_TRUE(published.emplace(update.status->ref.run_id, *update.saved_run).second);
      EXPECT_THAT(ProblemTexts(update.status->problems), Contains(HasSubstr("its UUID")));
    }
    EXPECT_EQ(published, kept);
    if (!restarted) {
      const size_t after = sink_.entries().size();
      Turn();
      EXPECT_EQ(sink_.entries().size(), after);
    }
  }
}

// A daemon that was killed between the shutdown file and the journal.

class HalfFinishedEndTest : public RestartTest {
 protected:
  // Returns what was kept before the guest powered itself off.
  std::string EndByGuest(FakeQemu* qemu, bool process_lives = false) {
    const int monitor = Follow(qemu);
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
};

TEST_F(HalfFinishedEndTest, IsFinished) {
  const std::string kept = EndByGuest(&qemu_);
  const int before = sink_.Count(EventType::kStopped);
  StartUntilScanned({kept});
  EXPECT_EQ(sink_.Count(EventType::kStopped), before + 1);
  EXPECT_EQ(LastClass(), ShutdownClass::kUser);
  EXPECT_EQ(Stopped().cause, ShutdownCause::kGuestRequest);
  EXPECT_EQ(Stopped().rule, "shutdown-file-found");
  EXPECT_TRUE(Stopped().shutdown_file_written);
  EXPECT_TRUE(FileExists(ShutdownFile("vm1")));
  EXPECT_THAT(EvidenceText(), HasSubstr("shutdown file found, written by vmeventd at"));
}

TEST_F(HalfFinishedEndTest, IsFinishedWhenTheProcessIsGoneAtLast) {
  const std::string kept = EndByGuest(&qemu_, true);
  StartUntilScanned({kept});
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  StartUntilScanned({KeptRun()});
  KillUntilStopped(&qemu_);
  ExpectStopped(ShutdownClass::kUser, "shutdown-file-found");
  EXPECT_TRUE(FileExists(ShutdownFile("vm1")));
}

TEST_F(HalfFinishedEndTest, WasNoneIfTheVmLives) {
  const std::string kept = EndByGuest(&qemu_, true);
  ASSERT_EQ(unlink(Socket("vm1").c_str()), 0);
  StartUntilScanned({kept});
  qemu_.AddMonitor(Socket("vm1"));
  EXPECT_TRUE(Until([&] { return !FileExists(ShutdownFile("vm1")); }));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
}

TEST_F(HalfFinishedEndTest, AFileOfAnotherUserOrKindIsNoNoteOfOurs) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to give the file away";
  const std::string kept = EndByGuest(&qemu_);
  ASSERT_EQ(chown(ShutdownFile("vm1").c_str(), 65534, 65534), 0);
  StartUntilScanned({kept});
  EXPECT_EQ(LastClass(), ShutdownClass::kUnknown);
  EXPECT_TRUE(FileExists(ShutdownFile("vm1")));

  ASSERT_EQ(unlink(ShutdownFile("vm1").c_str()), 0);
  ASSERT_EQ(symlink("elsewhere", ShutdownFile("vm1").c_str()), 0);
  StartUntilScanned({kept});
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
  StartUntilScanned({kept});
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
  StartUntilScanned({kept});
  EXPECT_EQ(LastClass(), ShutdownClass::kUnknown);
  EXPECT_TRUE(FileExists(ShutdownFile("vm1")));
}

}  // namespace
}  // namespace vmeventd
