#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/qmp/node_watcher_fixture.h"

namespace vmeventd {
namespace {

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

TEST_F(NodeWatcherDirectoriesTest, AVmIsCalledAsItsDirectory) {
  options_.watches = {ParseWatchSpec(Ctrl() + "/*/qmp.kvmd").value()};
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
TEST_F(NodeWatcherDirectoriesTest, NobodyMissesADirectoryThatIsOptional) {
  ASSERT_EQ(rmdir(Ctrl().c_str()), 0);
  WatchSpec spec = Spec("ctrl");
  spec.optional = true;
  options_.watches = {spec};
  Start();
  ASSERT_TRUE(Until([&] { return watcher_->first_scan_done(); }));
  EXPECT_EQ(watcher_->Describe().directories_size(), 0);
  EXPECT_FALSE(watcher_->has_open_source());
  directory_.MakeDirectory("ctrl");
  qemu_.AddMonitor(Socket("vm1"));
  EXPECT_TRUE(UntilDirectory(true));
  EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_TRUE(watcher_->has_open_source());
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
  options_.watches.push_back(Spec("alias"));
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

}  // namespace
}  // namespace vmeventd
