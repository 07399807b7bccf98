// Watched directories that come and go under real QEMUs.

#include <algorithm>
#include <filesystem>

#include "gmock/gmock.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

namespace fs = std::filesystem;

class DirectoriesTest : public E2eTest {
 protected:
  std::unique_ptr<Guest> StartIn(const std::string& directory, const std::string& name) {
    GuestOptions options;
    options.name = name;
    options.directory = directory;
    options.boot = Boot::kNothing;
    return StartGuest(options);
  }
  void WaitPresent(const std::string& directory, bool present) {
    WaitUntil(directory + (present ? " is watched" : " is known to be gone"), [&] {
      const auto info = daemon().GetServerInfo();
      return std::any_of(info.directories().begin(), info.directories().end(),
                         [&](const v1::WatchedDirectory& watched) {
                           return watched.path() == directory && watched.present() == present;
                         });
    });
  }
  void Quit(Guest& guest) {
    guest.manager().Execute("quit");
    EXPECT_EQ(stream().Wait(guest.name(), v1::EVENT_TYPE_STOPPED).shutdown().cause(),
              v1::SHUTDOWN_CAUSE_HOST_QUIT);
  }
};

TEST_F(DirectoriesTest, DirectoryThatIsCreatedLater) {
  const std::string later = dir() / "a/b/c";
  DaemonOptions options = Options();
  options.watches = {later};
  StartDaemon(options);
  OpenStream();
  WaitPresent(later, false);
  EXPECT_THAT(ReadFile(options.log_file), testing::HasSubstr(later + " is not there"));
  fs::create_directories(later);
  const auto guest = StartIn(later, "vm1");
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  WaitPresent(later, true);
  Quit(*guest);
}

TEST_F(DirectoriesTest, DirectoryThatIsRemovedAndComesBack) {
  StartDaemonAndStream();
  const auto old_guest = StartEmptyGuest("old");
  stream().Wait("old", v1::EVENT_TYPE_STARTED);
  fs::remove_all(watch_dir());
  WaitPresent(watch_dir(), false);
  EXPECT_EQ(daemon().GetVm("old").state(), v1::VM_STATE_RUNNING) << "its connection lives on";

  fs::create_directory(watch_dir());
  const auto new_guest = StartEmptyGuest("new");
  stream().Wait("new", v1::EVENT_TYPE_STARTED);
  Quit(*old_guest);
  Quit(*new_guest);
}

TEST_F(DirectoriesTest, DirectoryThatIsReplacedByAnother) {
  StartDaemonAndStream();
  const auto old_guest = StartEmptyGuest("old");
  stream().Wait("old", v1::EVENT_TYPE_STARTED);
  const std::string next = dir() / "next";
  fs::create_directory(next);
  const auto new_guest = StartIn(next, "new");
  fs::rename(watch_dir(), dir() / "away");
  fs::rename(next, watch_dir());
  stream().Wait("new", v1::EVENT_TYPE_STARTED);
  Quit(*old_guest);
  Quit(*new_guest);
}

TEST_F(DirectoriesTest, SeveralDirectoriesAndPatterns) {
  const std::string other = dir() / "other";
  fs::create_directory(other);
  DaemonOptions options = Options();
  options.watches.push_back(other + ":qemu-*.kvmd");
  StartDaemon(options);
  OpenStream();
  const auto unmatched = StartIn(other, "vm0");
  const auto first = StartIn(watch_dir(), "vm1");
  const auto second = StartIn(other, "qemu-vm2");
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  stream().Wait("vm2", v1::EVENT_TYPE_STARTED);
  EXPECT_EQ(daemon().ListVms(true).size(), 2u);
}

}  // namespace
}  // namespace vmeventd::e2e
