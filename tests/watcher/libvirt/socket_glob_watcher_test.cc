#include "watcher/libvirt/socket_glob_watcher.h"

#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/unix_socket.h"
#include "tests/support/wait.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;

class SocketGlobWatcherTest : public testing::Test {
 protected:
  void Start(const std::vector<std::string>& patterns) {
    std::vector<std::string> paths;
    for (const std::string& pattern : patterns) paths.push_back(directory_.Path(pattern));
    watcher_ = std::make_unique<SocketGlobWatcher>(
        loop_.get(), paths, absl::Minutes(1),
        [this](const std::vector<SocketGlobWatcher::Change>& changes) {
          for (const auto& [spec, path, gone] : changes) {
            const std::string found =
                std::to_string(spec) + " " + path.substr(directory_.Path("").size());
            if (gone) {
              EXPECT_EQ(found_.erase(found), 1);
            } else {
              found_.insert(found);
              ++reports_;
            }
          }
        });
    watcher_->Start();
  }
  bool Until(const std::function<bool()>& done) {
    return StepUntil(
        [this] {
          clock_.Advance(SocketGlobWatcher::kInterval);
          loop_->RunOnce(absl::ZeroDuration());
        },
        done);
  }
  bool UntilFound(size_t count) {
    return Until([&] { return found_.size() == count; });
  }
  void MakeSocket(const std::string& path) {
    std::filesystem::create_directories(std::filesystem::path(directory_.Path(path)).parent_path());
    sockets_.emplace_back(e2e::ListenUnix(directory_.Path(path)));
  }
  void Remove(const std::string& path) { std::filesystem::remove_all(directory_.Path(path)); }

  TemporaryDirectory directory_;
  ManualClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::unique_ptr<SocketGlobWatcher> watcher_;
  std::vector<UniqueFd> sockets_;
  std::set<std::string> found_;
  int reports_ = 0;
};

TEST_F(SocketGlobWatcherTest, FindsExistingAndNewSockets) {
  MakeSocket("pods/a/run/sock");
  MakeSocket("pods/b/run/other");
  Start({"pods/*/run/s*", "late/*/sock", "plain/sock"});
  EXPECT_THAT(found_, ElementsAre("0 pods/a/run/sock"));
  MakeSocket("plain/sock");
  MakeSocket("pods/c/run/sock");
  MakeSocket("late/1/sock");
  ASSERT_TRUE(UntilFound(3)) << "one without a wildcard is not looked for";
  Remove("pods/a");
  Remove("late");
  ASSERT_TRUE(UntilFound(1));
  EXPECT_THAT(found_, ElementsAre("0 pods/c/run/sock"));
  MakeSocket("late/2/sock");
  ASSERT_TRUE(UntilFound(2));
}

TEST_F(SocketGlobWatcherTest, ASocketThatReplacesAnotherIsReported) {
  MakeSocket("pods/a/sock");
  Start({"pods/*/sock"});
  EXPECT_EQ(reports_, 1);
  ASSERT_TRUE(Until([steps = 0]() mutable { return ++steps == 3; }));
  EXPECT_EQ(reports_, 1);
  MakeSocket("other");
  std::filesystem::rename(directory_.Path("other"), directory_.Path("pods/a/sock"));
  ASSERT_TRUE(Until([&] { return reports_ == 2; }));
}

TEST_F(SocketGlobWatcherTest, FoundSocketsStayFoundAtTheLimit) {
  std::filesystem::create_directories(directory_.Path("pods/b"));
  const std::string first = directory_.Path("pods/b/0");
  sockets_.emplace_back(e2e::ListenUnix(first));
  for (size_t link = 1; link < SocketGlobWatcher::kMaxSockets; ++link) {
    std::filesystem::create_hard_link(first, directory_.Path("pods/b/" + std::to_string(link)));
  }
  Start({"pods/*/*"});
  EXPECT_EQ(found_.size(), SocketGlobWatcher::kMaxSockets);
  MakeSocket("pods/a/0");
  ASSERT_TRUE(Until([steps = 0]() mutable { return ++steps == 3; }));
  EXPECT_FALSE(found_.contains("0 pods/a/0"));
  Remove("pods/b/7");
  ASSERT_TRUE(Until([&] { return found_.contains("0 pods/a/0"); }));
  EXPECT_EQ(found_.size(), SocketGlobWatcher::kMaxSockets);
}

TEST_F(SocketGlobWatcherTest, LinksAreFollowedBeforeTheFirstWildcardOnly) {
  MakeSocket("real/a/sock");
  std::filesystem::create_symlink(directory_.Path("real"), directory_.Path("link"));
  std::filesystem::create_symlink(directory_.Path("real/a"), directory_.Path("real/b"));
  MakeSocket("real/.hidden/sock");
  std::filesystem::create_directories(directory_.Path("real/d/sock"));
  MakeSocket("real/c/other");
  std::filesystem::create_symlink(directory_.Path("real/c/other"), directory_.Path("real/c/sock"));
  Start({"link/*/sock", "real/*/sock"});
  EXPECT_THAT(found_, ElementsAre("0 link/a/sock", "1 real/a/sock"));
}

}  // namespace
}  // namespace vmeventd
