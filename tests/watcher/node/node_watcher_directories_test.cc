#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/faulty_calls.h"
#include "tests/support/health.h"
#include "tests/support/qmp_lines.h"
#include "tests/watcher/node/node_watcher_fixture.h"
#include "watcher/runs/source_metric.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class NodeWatcherDirectoriesTest : public NodeWatcherFixture {
 protected:
  std::string Ctrl() const { return directory_.Path("ctrl"); }
  bool UntilDirectory(bool present) {
    return Until([&] {
      return watcher_->Describe().directories_size() > 0 &&
             watcher_->Describe().directories(0).present() == present;
    });
  }
};

TEST_F(NodeWatcherDirectoriesTest, AVmIsNamedAfterItsDirectory) {
  options_.sources.watches = {ParseWatchSpec(Ctrl() + "/*/qmp.kvmd").value()};
  Start();
  directory_.MakeDirectory("ctrl/web1");
  directory_.MakeDirectory("ctrl/web2");
  FakeQemu second;
  qemu_.AddMonitor(Ctrl() + "/web1/qmp.kvmd");
  second.AddMonitor(Ctrl() + "/web2/qmp.kvmd");
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Latest("web1")->ref().source(), "qmp:" + Ctrl() + "/web1");
  EXPECT_EQ(sink_.Latest("web2")->ref().pid(), second.pid());
}

// The default of a configuration that names no source.
TEST_F(NodeWatcherDirectoriesTest, AMissingOptionalDirectoryIsNoProblem) {
  ASSERT_EQ(rmdir(Ctrl().c_str()), 0);
  WatchSpec spec = Spec("ctrl");
  spec.optional = true;
  options_.sources.watches = {spec};
  Start();
  ASSERT_TRUE(Until([&] { return watcher_->first_scan_done(); }));
  EXPECT_EQ(watcher_->Describe().directories_size(), 0);
  EXPECT_FALSE(Serves(*watcher_, "sources"));
  directory_.MakeDirectory("ctrl");
  qemu_.AddMonitor(Socket("vm1"));
  EXPECT_TRUE(UntilDirectory(true));
  EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_TRUE(Serves(*watcher_, "sources"));
}

TEST_F(NodeWatcherDirectoriesTest, AMetricAndAStatusShowThatADirectoryIsMissing) {
  const SourceMetric::Labels labels = {{"directory", Ctrl()}, {"pattern", "*.kvmd"}};
  const auto value_of = [&](const char* name) {
    return watcher_->counters().OfSource(name, labels);
  };
  qemu_.AddMonitor(Socket("vm1"));
  Start();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_EQ(value_of("vmeventd_watched_directory_present"), 1u);
  EXPECT_EQ(value_of("vmeventd_watched_directory_sockets"), 1u);
  EXPECT_THAT(watcher_->Troubles(), IsEmpty());
  std::filesystem::remove_all(Ctrl());
  ASSERT_TRUE(UntilDirectory(false));
  EXPECT_EQ(value_of("vmeventd_watched_directory_present"), 0u);
  EXPECT_THAT(watcher_->Troubles(), ElementsAre("a watched directory is missing"));
  EXPECT_FALSE(Serves(*watcher_, "watch"));
}

TEST_F(NodeWatcherDirectoriesTest, AVmIsFollowedWhileItsDirectoryIsRemovedAndBack) {
  const int monitor = Follow(&qemu_);
  qemu_.Unlink(monitor);
  ASSERT_EQ(rmdir(Ctrl().c_str()), 0);  // the bound socket keeps its inode alive
  ASSERT_TRUE(UntilDirectory(false));
  qemu_.Send(monitor, EventLine("RESET"));
  EXPECT_TRUE(UntilCount(EventType::kReset, 1));

  directory_.MakeDirectory("ctrl");
  FakeQemu second;
  second.AddMonitor(Socket("vm2"));
  EXPECT_TRUE(UntilCount(EventType::kStarted, 2));
  qemu_.Kill(SIGKILL);
  EXPECT_TRUE(UntilCount(EventType::kStopped, 1));
  EXPECT_EQ(sink_.Latest("vm2")->state(), VmState::kRunning);
}

TEST_F(NodeWatcherDirectoriesTest, AReplacedDirectoryMayHoldAnotherVmOfTheSameName) {
  FakeQemu old_qemu;
  FakeQemu new_qemu;
  const int old_monitor = old_qemu.AddMonitor(Socket("vm1"));
  directory_.MakeDirectory("other");
  new_qemu.AddMonitor(directory_.Path("other/vm1.kvmd"));
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 1));
  const std::string old_run(sink_.Latest("vm1")->ref().run_id());
  ASSERT_EQ(renameat2(AT_FDCWD, Ctrl().c_str(), AT_FDCWD, directory_.Path("other").c_str(),
                      RENAME_EXCHANGE),
            0);
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_NE(sink_.Latest("vm1")->ref().run_id(), old_run);
  EXPECT_EQ(sink_.Latest("vm1")->ref().pid(), new_qemu.pid());
  old_qemu.Send(old_monitor, kQuitLine);
  old_qemu.Exit();
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  EXPECT_EQ(sink_.Last(EventType::kStopped)->update.status->ref().run_id(), old_run);
}

TEST_F(NodeWatcherDirectoriesTest, ADirectoryWatchedUnderTwoNamesIsFollowedOnce) {
  ASSERT_EQ(symlink("ctrl", directory_.Path("alias").c_str()), 0);
  options_.sources.watches.push_back(Spec("alias"));
  options_.greeting_timeout = absl::Milliseconds(50);
  const int monitor = Follow(&qemu_);
  qemu_.Send(monitor, EventLine("RESET"));
  ASSERT_TRUE(UntilCount(EventType::kReset, 1));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
  EXPECT_EQ(watcher_->Describe().directories(1).sockets(), 1);

  // The other name is taken once this one is gone.
  qemu_.Unlink(monitor);
  KillUntilStopped(&qemu_);
  FakeQemu next;
  next.AddMonitor(Socket("vm1"));
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
}

class HangingDirectoryTest : public NodeWatcherFixture {
 protected:
  HangingDirectoryTest() {
    directory_.MakeDirectory("other");
    options_.sources.watches.push_back(Spec("other"));
    options_.directory_patience = absl::ZeroDuration();
  }
  std::string Other(const std::string& vm) const {
    return directory_.Path("other/" + vm + ".kvmd");
  }
  v1::WatchedDirectory Directory(int number) const {
    return watcher_->Describe().directories(number);
  }
  v1::ShutdownDetail LastEnd() const {
    return sink_.Last(EventType::kStopped)->update.event->shutdown();
  }
  // The next look at "ctrl" hangs.
  bool UntilHangs() {
    return UntilInTime([&] { return Directory(0).has_problem(); }, absl::Seconds(1));
  }
};

TEST_F(HangingDirectoryTest, DoesNotDelayOthers) {
  const int first = qemu_.AddMonitor(Socket("vm1"));
  FakeQemu second;
  const int other = second.AddMonitor(Other("vm2"));
  StartWithManualClock();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  ASSERT_TRUE(UntilState("vm2", VmState::kRunning));
  {
    const HangingDirectory hang(directory_.Path("ctrl"));
    ASSERT_TRUE(UntilHangs());
    EXPECT_FALSE(Directory(0).present());
    EXPECT_EQ(Directory(0).problem().code(), ProblemCode::kDirectoryHangs);
    EXPECT_TRUE(Directory(1).present());
    EXPECT_FALSE(Serves(*watcher_, "watch"));
    EXPECT_TRUE(Serves(*watcher_, "sources"));
    EXPECT_EQ(sink_.Latest("vm1")->state(), VmState::kUnreachable);
    EXPECT_TRUE(HasProblem("vm1", "does not answer"));
    EXPECT_EQ(sink_.Latest("vm2")->state(), VmState::kRunning);

    // The other directory's VM ends, and so does one that hangs, without its shutdown file.
    second.Send(other, kGuestShutdownLine);
    second.Exit();
    ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
    const v1::ShutdownDetail of_other = LastEnd();
    EXPECT_EQ(of_other.shutdown_class(), ShutdownClass::kUser);
    EXPECT_TRUE(of_other.shutdown_file_written());
    qemu_.Send(first, kGuestShutdownLine);
    qemu_.Exit();
    ASSERT_TRUE(UntilCount(EventType::kStopped, 2));
    const v1::ShutdownDetail of_first = LastEnd();
    EXPECT_EQ(of_first.shutdown_class(), ShutdownClass::kUser);
    EXPECT_FALSE(of_first.shutdown_file_written());
    FakeQemu third;
    third.AddMonitor(Other("vm3"));
    ASSERT_TRUE(UntilState("vm3", VmState::kRunning));
  }
  FakeQemu fourth;
  fourth.AddMonitor(Socket("vm4"));
  ASSERT_TRUE(UntilState("vm4", VmState::kRunning));
  EXPECT_TRUE(Directory(0).present());
  EXPECT_FALSE(Directory(0).has_problem());
  EXPECT_TRUE(Serves(*watcher_, "watch"));
}

TEST_F(HangingDirectoryTest, ItsVmsAreReachableAgainOnceItAnswers) {
  qemu_.AddMonitor(Socket("vm1"));
  StartWithManualClock();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  {
    const HangingDirectory hang(directory_.Path("ctrl"));
    ASSERT_TRUE(UntilHangs());
    ASSERT_TRUE(UntilState("vm1", VmState::kUnreachable));
  }
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_TRUE(HasProblem("vm1", ""));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
}

TEST_F(HangingDirectoryTest, TheStartDoesNotWaitForIt) {
  const HangingDirectory hang(directory_.Path("ctrl"));
  FakeQemu second;
  second.AddMonitor(Other("vm2"));
  qemu_.AddMonitor(Socket("vm1"));
  StartWithManualClock();
  ASSERT_TRUE(UntilState("vm2", VmState::kRunning));
  EXPECT_FALSE(watcher_->first_scan_done()) << "it may be slow";
  ASSERT_TRUE(UntilInTime([&] { return watcher_->first_scan_done(); }, absl::Seconds(1)));
  EXPECT_EQ(sink_.Latest("vm1"), nullptr);
}

}  // namespace
}  // namespace vmeventd
