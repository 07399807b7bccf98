#include "watcher/libvirt/domain_process.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/support/test_util.h"

namespace vmeventd {
namespace {

const DomainName kWeb1 = {"web1", "475852fa-ea74-4630-8eae-7a6231894c40", 3};

class DomainProcessTest : public testing::Test {
 protected:
  PeerProcess Find() { return FindDomainProcess(directory_.Path(""), kWeb1).value(); }
  // Whether Find() opens the file `path` for reading.
  bool FindOpens(const std::string& path) {
    const UniqueFd inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    EXPECT_GE(inotify_add_watch(inotify.get(), path.c_str(), IN_OPEN), 0);
    EXPECT_NE(Find().kind, PeerProcess::Kind::kTracked);
    std::array<char, 4096> events;
    return read(inotify.get(), events.data(), events.size()) > 0;
  }

  TempDir directory_;
  const std::string pid_file_ = directory_.Path("web1.pid");
};

// open() acts on a device, and on a FIFO that somebody waits to write to.
TEST_F(DomainProcessTest, OnlyARegularFileIsOpened) {
  ASSERT_EQ(mkfifo(pid_file_.c_str(), 0600), 0);
  EXPECT_FALSE(FindOpens(pid_file_));
}

TEST_F(DomainProcessTest, ALinkIsNotFollowed) {
  const std::string elsewhere = directory_.Path("elsewhere");
  std::ofstream(elsewhere) << getpid();
  std::filesystem::create_symlink(elsewhere, pid_file_);
  EXPECT_FALSE(FindOpens(elsewhere));
  std::filesystem::remove(pid_file_);
  std::filesystem::rename(elsewhere, pid_file_);
  EXPECT_TRUE(FindOpens(pid_file_)) << "the test sees what is opened";
}

TEST_F(DomainProcessTest, APidThatNobodyHasIsGone) {
  std::ofstream(pid_file_) << "4194304\n";  // more than the kernel gives
  const PeerProcess found = Find();
  EXPECT_EQ(found.kind, PeerProcess::Kind::kGone);
  EXPECT_EQ(found.pid, 4194304);
}

}  // namespace
}  // namespace vmeventd
