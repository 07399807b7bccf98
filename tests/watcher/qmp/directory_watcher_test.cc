#include "watcher/qmp/directory_watcher.h"

#include <sched.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"
#include "tests/support/faulty_calls.h"
#include "tests/support/files.h"
#include "tests/support/full_descriptor_table.h"
#include "tests/support/inotify_record.h"
#include "tests/support/inotify_watches.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/unix_socket.h"
#include "tests/support/wait.h"
#include "tests/watcher/runs/as_nobody.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

// A bound socket; its file stays when it is closed.
UniqueFd BindSocket(const std::string& path) { return UniqueFd(e2e::ListenUnix(path)); }

class DirectoryWatcherTest : public testing::Test, public DirectoryWatcher::Delegate {
 protected:
  DirectoryWatcherTest() { directory_.MakeDirectory("watched"); }

  void OnSocket(int spec, const std::string& name, const SeenSocket& /*socket*/) override {
    present_[spec].insert(name);
    ++tellings_;
  }
  void OnSocketGone(int spec, const std::string& name) override { present_[spec].erase(name); }
  void OnRead(int /*spec*/) override { ++reads_; }
  void OnDirectories(std::vector<v1::WatchedDirectory> directories) override {
    directories_ = std::move(directories);
  }

  void Watch(const std::vector<std::string>& directories,
             size_t limit = DirectoryWatcher::kMaxSockets) {
    std::vector<WatchSpec> specs;
    specs.reserve(directories.size());
    for (const std::string& directory : directories) specs.push_back({directory, "*.kvmd"});
    Watch(specs, limit);
  }
  void Watch(const std::vector<WatchSpec>& specs, size_t limit = DirectoryWatcher::kMaxSockets) {
    Create(specs, limit);
    watcher_->Start();
  }
  void Create(const std::vector<WatchSpec>& specs, size_t limit = DirectoryWatcher::kMaxSockets) {
    watcher_.reset();
    threads_.clear();
    std::vector<DirectoryThread*> threads;
    for (int spec = 0; spec < static_cast<int>(specs.size()); ++spec) {
      threads_.push_back(std::make_unique<DirectoryThread>(
          loop_.get(), patience_, [this, spec] { watcher_->OnHangChange(spec); }));
      threads.push_back(threads_.back().get());
    }
    watcher_ = DirectoryWatcher::Create(loop_.get(), specs, threads, this, limit).value();
  }
  // The watcher looks at its paths each second.
  bool Until(const std::function<bool()>& done) {
    return StepUntil(
        [this] {
          clock_.Advance(absl::Seconds(1));
          loop_->RunOnce(absl::Milliseconds(10));
        },
        done);
  }
  bool UntilPresent(const std::set<std::string>& names, int spec = 0) {
    return Until([&] { return present_[spec] == names; });
  }
  // Handles all that is pending: what is done afterwards has come by the end.
  void Settle() {
    const std::string name = "settle" + std::to_string(++settled_) + ".kvmd";
    BindSocket(directory_.Path("watched/" + name));
    ASSERT_TRUE(Until([&] { return present_[0].count(name) > 0; }));
    unlink(directory_.Path("watched/" + name).c_str());
    ASSERT_TRUE(Until([&] { return present_[0].count(name) == 0; }));
  }
  std::string Watched() const { return directory_.Path("watched"); }

  TemporaryDirectory directory_;
  ManualClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::map<int, std::set<std::string>> present_;
  std::vector<v1::WatchedDirectory> directories_;
  absl::Duration patience_ = absl::Minutes(1);  // the loop waits for each read of a directory
  std::vector<std::unique_ptr<DirectoryThread>> threads_;
  std::unique_ptr<DirectoryWatcher> watcher_;
  int tellings_ = 0;
  int reads_ = 0;
  int settled_ = 0;
};

TEST_F(DirectoryWatcherTest, FindsSocketsThatAreThere) {
  BindSocket(Watched() + "/a.kvmd");
  BindSocket(Watched() + "/b.kvmd");
  BindSocket(Watched() + "/c.qmp");
  Watch({Watched()});
  EXPECT_THAT(present_[0], UnorderedElementsAre("a.kvmd", "b.kvmd"));
  ASSERT_EQ(directories_.size(), 1u);
  EXPECT_EQ(directories_[0].path(), Watched());
  EXPECT_EQ(directories_[0].pattern(), "*.kvmd");
  EXPECT_TRUE(directories_[0].present());
  EXPECT_EQ(directories_[0].sockets(), 2);
  EXPECT_EQ(watcher_->counters().rescans, 0u);
}

TEST_F(DirectoryWatcherTest, FollowsSocketsAsTheyComeAndGo) {
  Watch({Watched()});
  EXPECT_EQ(directories_[0].sockets(), 0);
  BindSocket(Watched() + "/a.kvmd");
  EXPECT_TRUE(UntilPresent({"a.kvmd"}));
  BindSocket(directory_.Path("moved"));
  ASSERT_EQ(rename(directory_.Path("moved").c_str(), (Watched() + "/b.kvmd").c_str()), 0);
  EXPECT_TRUE(UntilPresent({"a.kvmd", "b.kvmd"}));
  EXPECT_EQ(directories_[0].sockets(), 2);
  ASSERT_EQ(rename((Watched() + "/b.kvmd").c_str(), (Watched() + "/c.kvmd").c_str()), 0);
  EXPECT_TRUE(UntilPresent({"a.kvmd", "c.kvmd"}));
  unlink((Watched() + "/a.kvmd").c_str());
  EXPECT_TRUE(UntilPresent({"c.kvmd"}));
  EXPECT_EQ(directories_[0].sockets(), 1);
}

TEST_F(DirectoryWatcherTest, TakesSocketsOnlyAndFollowsNoLink) {
  BindSocket(directory_.Path("real"));
  for (const bool later : {false, true}) {
    const std::string prefix = Watched() + (later ? "/later-" : "/");
    e2e::Touch(prefix + "file.kvmd");
    ASSERT_EQ(mkfifo((prefix + "fifo.kvmd").c_str(), 0600), 0);
    ASSERT_EQ(mkdir((prefix + "directory.kvmd").c_str(), 0700), 0);
    ASSERT_EQ(symlink(directory_.Path("real").c_str(), (prefix + "link.kvmd").c_str()), 0);
    if (!later) Watch({Watched()});
  }
  Settle();
  EXPECT_THAT(present_[0], IsEmpty());
}

// The log's text while it lives.
class RecordedLog {
 public:
  RecordedLog() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "log", std::make_shared<spdlog::sinks::ostream_sink_st>(text_)));
  }
  ~RecordedLog() { spdlog::set_default_logger(before_); }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
  const std::shared_ptr<spdlog::logger> before_;
};

TEST_F(DirectoryWatcherTest, WarnsAtTheStartIfThereAreSocketsAndNoneMatches) {
  BindSocket(Watched() + "/web1.sock");
  {
    const RecordedLog log;
    Watch(std::vector<WatchSpec>{{Watched(), "*.qmp"}});
    EXPECT_THAT(log.text(), testing::HasSubstr("no socket in " + Watched() +
                                               " matches *.qmp, but web1.sock exists: if it is a "
                                               "monitor of a VM, write --watch '" +
                                               Watched() + ":*.sock'"));
  }
  BindSocket(Watched() + "/web2.qmp");
  const RecordedLog log;
  Watch(std::vector<WatchSpec>{{Watched(), "*.qmp"}});
  EXPECT_EQ(log.text(), "");
}

TEST_F(DirectoryWatcherTest, WarnsIfNoSocketInTheVmsDirectoriesMatches) {
  directory_.MakeDirectory("watched/web1");
  BindSocket(Watched() + "/web1/monitor.sock");
  const RecordedLog log;
  Watch({ParseWatchSpec(Watched() + "/*/qmp.sock").value()});
  EXPECT_THAT(log.text(), testing::HasSubstr("no socket in " + Watched() +
                                             "/* matches qmp.sock, but monitor.sock exists"));
}

TEST_F(DirectoryWatcherTest, LogsOnceThatALinkToASocketIsNotFollowed) {
  const RecordedLog log;
  BindSocket(directory_.Path("real"));
  for (const char* name : {"/a.kvmd", "/b.kvmd"}) {
    ASSERT_EQ(symlink(directory_.Path("real").c_str(), (Watched() + name).c_str()), 0);
  }
  Watch({Watched()});
  ASSERT_EQ(symlink(directory_.Path("real").c_str(), (Watched() + "/c.kvmd").c_str()), 0);
  Settle();
  const std::string text = log.text();
  const size_t first = text.find(".kvmd is a symbolic link to a socket");
  EXPECT_NE(first, std::string::npos) << text;
  EXPECT_EQ(text.find("is a symbolic link to a socket", first + 30), std::string::npos) << text;
}

TEST_F(DirectoryWatcherTest, PicksUpADirectoryThatAppearsWithItsParents) {
  const std::string deep = directory_.Path("a/b/c");
  Watch({deep});
  EXPECT_FALSE(directories_[0].present());
  directory_.MakeDirectory("a");
  directory_.MakeDirectory("a/b/c");
  BindSocket(deep + "/x.kvmd");
  EXPECT_TRUE(UntilPresent({"x.kvmd"}));
  EXPECT_TRUE(directories_[0].present());
}

TEST_F(DirectoryWatcherTest, NoticesTheRenameOfAParent) {
  const std::string deep = directory_.MakeDirectory("a/b/c");
  BindSocket(deep + "/x.kvmd");
  Watch({deep});
  ASSERT_EQ(rename(directory_.Path("a").c_str(), directory_.Path("z").c_str()), 0);
  EXPECT_TRUE(Until([&] { return !directories_[0].present(); }));
  ASSERT_EQ(rename(directory_.Path("z").c_str(), directory_.Path("a").c_str()), 0);
  EXPECT_TRUE(UntilPresent({"x.kvmd"}));
}

TEST_F(DirectoryWatcherTest, ADirectoryMayBeReachedThroughALinkWhoseTargetComesAndGoes) {
  ASSERT_EQ(symlink("../target/deep", directory_.MakeDirectory("links").append("/l").c_str()), 0);
  Watch({directory_.Path("links/l/watched")});
  EXPECT_FALSE(directories_[0].present());
  directory_.MakeDirectory("target/deep/watched");
  BindSocket(directory_.Path("target/deep/watched/x.kvmd"));
  EXPECT_TRUE(UntilPresent({"x.kvmd"}));
  ASSERT_EQ(rename(directory_.Path("target").c_str(), directory_.Path("gone").c_str()), 0);
  EXPECT_TRUE(UntilPresent({}));
}

TEST_F(DirectoryWatcherTest, AFileAndACircularLinkAreNotDirectories) {
  ASSERT_EQ(symlink("b", directory_.Path("a").c_str()), 0);
  ASSERT_EQ(symlink("a", directory_.Path("b").c_str()), 0);
  ASSERT_EQ(rmdir(Watched().c_str()), 0);
  e2e::Touch(Watched());
  Watch({Watched(), directory_.Path("a")});
  EXPECT_FALSE(directories_[0].present());
  EXPECT_FALSE(directories_[1].present());
  unlink(Watched().c_str());
  directory_.MakeDirectory("watched");
  EXPECT_TRUE(Until([&] { return directories_[0].present(); }));
}

class VmDirectoriesTest : public DirectoryWatcherTest {
 protected:
  void WatchVms(const std::string& below = "/qmp.sock",
                size_t limit = DirectoryWatcher::kMaxSockets) {
    Watch({ParseWatchSpec(Watched() + "/*" + below).value()}, limit);
  }
  std::string Vm(const std::string& name) const { return directory_.Path("watched/" + name); }
  // A VM's directory and its bound socket.
  UniqueFd AddVm(const std::string& name, const std::string& socket = "qmp.sock") {
    directory_.MakeDirectory("watched/" + name);
    return BindSocket(Vm(name) + "/" + socket);
  }
  void RemoveVm(const std::string& name) {
    unlink((Vm(name) + "/qmp.sock").c_str());
    EXPECT_EQ(rmdir(Vm(name).c_str()), 0);
  }
};

TEST_F(VmDirectoriesTest, FindsTheSocketOfEachVm) {
  AddVm("web1");
  AddVm("web2");
  AddVm("web2", "virtiofs.sock");
  BindSocket(Vm("qmp.sock"));
  WatchVms();
  EXPECT_THAT(present_[0], UnorderedElementsAre("web1/qmp.sock", "web2/qmp.sock"));
  ASSERT_EQ(directories_.size(), 1u);
  EXPECT_EQ(directories_[0].path(), Watched() + "/*");
  EXPECT_EQ(directories_[0].pattern(), "qmp.sock");
  EXPECT_TRUE(directories_[0].present());
  EXPECT_EQ(directories_[0].sockets(), 2);
}

TEST_F(VmDirectoriesTest, FollowsDirectoriesAndSocketsAsTheyComeAndGo) {
  WatchVms();
  EXPECT_TRUE(directories_[0].present());
  directory_.MakeDirectory("watched/web1");
  loop_->RunOnce(absl::ZeroDuration());
  const UniqueFd bound = BindSocket(Vm("web1") + "/qmp.sock");  // pins the directory
  ASSERT_TRUE(UntilPresent({"web1/qmp.sock"}));
  AddVm("web2");  // in one step, as far as the loop sees it
  ASSERT_TRUE(UntilPresent({"web1/qmp.sock", "web2/qmp.sock"}));
  RemoveVm("web1");
  ASSERT_TRUE(UntilPresent({"web2/qmp.sock"}));
  AddVm("web1");
  ASSERT_TRUE(UntilPresent({"web1/qmp.sock", "web2/qmp.sock"}));
  RemoveVm("web1");
  AddVm("web1");
  BindSocket(Vm("web2") + "/other");
  const int tellings = tellings_;
  ASSERT_TRUE(Until([&] { return tellings_ > tellings; }));
  EXPECT_TRUE(UntilPresent({"web1/qmp.sock", "web2/qmp.sock"}));
  EXPECT_EQ(directories_[0].sockets(), 2);
}

TEST_F(VmDirectoriesTest, TheSocketMayBeFurtherDown) {
  WatchVms("/run/qmp.sock");
  directory_.MakeDirectory("watched/web1");
  loop_->RunOnce(absl::ZeroDuration());
  directory_.MakeDirectory("watched/web1/run");
  loop_->RunOnce(absl::ZeroDuration());
  BindSocket(Vm("web1") + "/run/qmp.sock");
  EXPECT_TRUE(UntilPresent({"web1/run/qmp.sock"}));
  ASSERT_EQ(rename((Vm("web1") + "/run").c_str(), (Vm("web1") + "/away").c_str()), 0);
  EXPECT_TRUE(UntilPresent({}));
}

TEST_F(VmDirectoriesTest, ALinkToADirectoryIsFollowed) {
  directory_.MakeDirectory("elsewhere");
  BindSocket(directory_.Path("elsewhere/qmp.sock"));
  ASSERT_EQ(symlink("../elsewhere", Vm("web1").c_str()), 0);
  WatchVms();
  EXPECT_TRUE(UntilPresent({"web1/qmp.sock"}));
  unlink(directory_.Path("elsewhere/qmp.sock").c_str());
  EXPECT_TRUE(UntilPresent({}));
}

// The socket pins the directory, so that inotify does not say that it is another one.
TEST_F(VmDirectoriesTest, ADirectoryFurtherDownMayBeReplacedUnderABoundSocket) {
  WatchVms("/run/qmp.sock");
  directory_.MakeDirectory("watched/web1/run");
  const UniqueFd bound = BindSocket(Vm("web1") + "/run/qmp.sock");
  ASSERT_TRUE(UntilPresent({"web1/run/qmp.sock"}));
  unlink((Vm("web1") + "/run/qmp.sock").c_str());
  ASSERT_EQ(rmdir((Vm("web1") + "/run").c_str()), 0);
  ASSERT_TRUE(UntilPresent({}));
  directory_.MakeDirectory("watched/web1/run");
  BindSocket(Vm("web1") + "/run/qmp.sock");
  EXPECT_TRUE(UntilPresent({"web1/run/qmp.sock"}));
}

TEST_F(VmDirectoriesTest, TheRootMayBeReplaced) {
  AddVm("web1");
  WatchVms();
  ASSERT_EQ(rename(Watched().c_str(), directory_.Path("away").c_str()), 0);
  ASSERT_TRUE(UntilPresent({}));
  EXPECT_FALSE(directories_[0].present());
  EXPECT_EQ(directories_[0].sockets(), 0);
  directory_.MakeDirectory("watched");
  AddVm("web2");
  EXPECT_TRUE(UntilPresent({"web2/qmp.sock"}));
}

TEST_F(VmDirectoriesTest, AVmHasSixteenSocketsAtMost) {
  for (int i = 0; i < 20; ++i) AddVm("web1", std::to_string(i) + ".sock");
  AddVm("web2", "a.sock");
  WatchVms("/*.sock");
  EXPECT_EQ(present_[0].size(), 17u);
}

TEST_F(DirectoryWatcherTest, WatchesAreSharedAndDroppedWhenNoSpecNeedsThem) {
  directory_.MakeDirectory("watched/inner");
  Watch({Watched()});
  const int alone = InotifyWatches();
  watcher_.reset();
  Watch({Watched(), Watched(), Watched() + "/inner"});
  EXPECT_EQ(InotifyWatches(), alone + 1);
  EXPECT_EQ(rmdir((Watched() + "/inner").c_str()), 0);
  EXPECT_TRUE(Until([&] { return !directories_[2].present(); }));
  EXPECT_TRUE(Until([&] { return InotifyWatches() == alone; }));
  BindSocket(Watched() + "/x.kvmd");
  EXPECT_TRUE(UntilPresent({"x.kvmd"}, 0));
  EXPECT_TRUE(UntilPresent({"x.kvmd"}, 1));
}

TEST_F(DirectoryWatcherTest, AnOverflowLeadsToARescanOfEverything) {
  Watch({Watched()});
  BindSocket(Watched() + "/x.kvmd");
  watcher_->Dispatch(EncodeInotifyEvent({-1, IN_Q_OVERFLOW, ""}));
  EXPECT_THAT(present_[0], ElementsAre("x.kvmd"));
  EXPECT_EQ(watcher_->counters().overflows, 1u);
  EXPECT_EQ(watcher_->counters().rescans, 1u);
}

TEST_F(DirectoryWatcherTest, AReadErrorIsNotTheEndOfAListing) {
  BindSocket(Watched() + "/x.kvmd");
  BindSocket(Watched() + "/y.kvmd");
  Watch({Watched()});
  ASSERT_THAT(present_[0], ElementsAre("x.kvmd", "y.kvmd"));
  const FaultyReaddir faulty(1);
  watcher_->Dispatch(EncodeInotifyEvent({-1, IN_Q_OVERFLOW, ""}));
  EXPECT_EQ(watcher_->counters().rescans, 1u);
  EXPECT_THAT(present_[0], ElementsAre("x.kvmd", "y.kvmd"));
}

TEST_F(DirectoryWatcherTest, SocketsBeyondTheDirectorysLimitAreFoundOnceOthersAreGone) {
  for (const char* name : {"/a.kvmd", "/b.kvmd", "/c.kvmd"}) BindSocket(Watched() + name);
  Watch({Watched()}, 2);
  ASSERT_EQ(present_[0].size(), 2u);
  EXPECT_EQ(watcher_->counters().left_out, 1u);
  BindSocket(Watched() + "/d.kvmd");
  ASSERT_TRUE(Until([&] { return watcher_->counters().left_out == 2; }));
  const std::set<std::string> first = present_[0];
  for (const std::string& name : first) unlink((Watched() + "/" + name).c_str());
  ASSERT_TRUE(Until([&] {
    return present_[0].size() == 2 &&
           std::none_of(present_[0].begin(), present_[0].end(),
                        [&first](const std::string& name) { return first.contains(name); });
  }));
}

TEST_F(DirectoryWatcherTest, AFullDirectoryForgetsNoSocketThatItKnows) {
  BindSocket(Watched() + "/known.kvmd");
  Watch({Watched()}, 2);
  for (int i = 0; i < 20; ++i) BindSocket(Watched() + "/" + std::to_string(i) + ".kvmd");
  ASSERT_TRUE(Until([&] { return watcher_->counters().left_out >= 19; }));
  const std::set<std::string> before = present_[0];
  watcher_->Dispatch(EncodeInotifyEvent({-1, IN_Q_OVERFLOW, ""}));
  EXPECT_EQ(present_[0], before);
  EXPECT_EQ(before.count("known.kvmd"), 1u);
}

TEST_F(DirectoryWatcherTest, AnAttributeChangeOfASocketReportsItAgain) {
  BindSocket(Watched() + "/x.kvmd");
  Watch({Watched()});
  const int tellings = tellings_;
  ASSERT_EQ(chmod((Watched() + "/x.kvmd").c_str(), 0600), 0);
  EXPECT_TRUE(Until([&] { return tellings_ > tellings; }));
}

TEST_F(DirectoryWatcherTest, ADirectoryIsMissingWhileNoDescriptorIsLeftForIt) {
  BindSocket(Watched() + "/x.kvmd");
  Create({{Watched(), "*.kvmd"}});
  {
    const FullDescriptorTable full;
    watcher_->Start();
    ASSERT_EQ(directories_.size(), 1u);
    EXPECT_FALSE(directories_[0].present());
    EXPECT_FALSE(watcher_->any_present());
  }
  EXPECT_TRUE(UntilPresent({"x.kvmd"}));
  EXPECT_TRUE(directories_[0].present());
}

TEST_F(DirectoryWatcherTest, AnUnreadableDirectoryIsPickedUpOnceItCanBeRead) {
  ASSERT_EQ(chmod(directory_.path().c_str(), 0755), 0);
  BindSocket(Watched() + "/x.kvmd");
  ASSERT_EQ(chmod(Watched().c_str(), 0), 0);
  {
    const AsNobody unprivileged;
    Watch({Watched()});
  }
  EXPECT_FALSE(directories_[0].present());
  EXPECT_THAT(present_[0], IsEmpty());
  ASSERT_EQ(chmod(Watched().c_str(), 0755), 0);
  const AsNobody unprivileged;
  EXPECT_TRUE(UntilPresent({"x.kvmd"}));
  EXPECT_TRUE(directories_[0].present());
}

TEST_F(DirectoryWatcherTest, ADirectoryInAParentThatMayBeTraversedButNotReadIsWatched) {
  ASSERT_EQ(chmod(directory_.path().c_str(), 0711), 0);
  const AsNobody unprivileged;
  Watch({Watched()});
  EXPECT_TRUE(directories_[0].present());
}

TEST_F(DirectoryWatcherTest, NoticesWhatIsMountedOverTheDirectory) {
  if (unshare(CLONE_NEWNS) != 0 || mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    GTEST_SKIP() << "may not mount";
  }
  BindSocket(Watched() + "/below.kvmd");
  Watch({Watched()});
  EXPECT_THAT(present_[0], ElementsAre("below.kvmd"));
  ASSERT_EQ(mount("none", Watched().c_str(), "tmpfs", 0, nullptr), 0);
  EXPECT_TRUE(UntilPresent({}));
  BindSocket(Watched() + "/above.kvmd");
  EXPECT_TRUE(UntilPresent({"above.kvmd"}));
  ASSERT_EQ(umount(Watched().c_str()), 0);
  EXPECT_TRUE(UntilPresent({"below.kvmd"}));
}

// A directory of the host is mounted into a container, and the host creates it again.
TEST_F(DirectoryWatcherTest, ADirectoryWhoseMountSourceWasRemovedIsMissing) {
  if (unshare(CLONE_NEWNS) != 0 || mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    GTEST_SKIP() << "may not mount";
  }
  const std::string host = directory_.MakeDirectory("host");
  ASSERT_EQ(mount(host.c_str(), Watched().c_str(), nullptr, MS_BIND, nullptr), 0);
  Watch({Watched()});
  EXPECT_TRUE(directories_[0].present());
  ASSERT_EQ(rmdir(host.c_str()), 0);
  directory_.MakeDirectory("host");
  ASSERT_TRUE(Until([&] { return !directories_[0].present(); }));
  ASSERT_EQ(umount(Watched().c_str()), 0);
  ASSERT_EQ(mount(host.c_str(), Watched().c_str(), nullptr, MS_BIND, nullptr), 0);
  BindSocket(host + "/vm1.kvmd");
  EXPECT_TRUE(UntilPresent({"vm1.kvmd"}));
  EXPECT_TRUE(directories_[0].present());
}

}  // namespace
}  // namespace vmeventd
