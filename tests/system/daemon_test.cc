// The daemon as a process: its locks, its state directory and its listeners.

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;

class DaemonTest : public E2eTest {
 protected:
  // Expects that a second daemon is refused over what it shares with the first, which still serves.
  void ExpectRefused(const DaemonOptions& second, const std::string& shared) {
    const CommandResult result = RunCommand(DaemonCommand(second));
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.error, HasSubstr(shared));
    EXPECT_NE(daemon().GetServerInfo().version(), "");
  }
};

TEST_F(DaemonTest, SecondOneOnTheSameSocketIsRefused) {
  StartDaemon();
  DaemonOptions second = Options();
  second.state_dir = dir() / "other-state";
  ExpectRefused(second, second.socket);
}

TEST_F(DaemonTest, SecondOneOnTheSameStateDirectoryIsRefused) {
  StartDaemon();
  DaemonOptions second = Options();
  second.socket = dir() / "other-run/vmeventd.sock";
  ExpectRefused(second, second.state_dir);
}

// As `rm -rf /run/vmeventd/*` does it, or a volume that is made again.
TEST_F(DaemonTest, ASocketThatIsRemovedIsMadeAgain) {
  StartDaemon();
  const std::string socket = Options().socket;
  std::filesystem::remove_all(std::filesystem::path(socket).parent_path());
  ChildOptions health;
  health.arguments = VmeventsCommand("unix:" + socket, {"health", "listen"});
  WaitUntil("clients reach the daemon again", [&] { return RunCommand(health).exit_code == 0; });
}

TEST_F(DaemonTest, AReadOnlyStateDirectoryIsRefused) {
  DaemonOptions options = Options();
  std::filesystem::create_directory(options.state_dir);
  if (geteuid() == 0) {  // root may write everywhere
    options.wrapper = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    chmod(dir().path().c_str(), 0755);
    ASSERT_EQ(chown(options.state_dir.c_str(), 65534, 65534), 0);
    options.program = CopyProgram(dir().path());
  }
  chmod(options.state_dir.c_str(), 0550);
  const CommandResult result = RunCommand(DaemonCommand(options));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.error, HasSubstr(options.state_dir + ": is not writable"));
}

// In a network namespace, where the address can come later.
TEST_F(DaemonTest, AnAddressMayComeAfterTheStart) {
  DaemonOptions options = Options({"--listen", "192.0.2.55:9555", "--insecure-listen"});
  options.wrapper = {"unshare", "--net"};
  StartDaemon(options);
  const auto inside = [this](std::vector<std::string> command) {
    ChildOptions child;
    child.arguments = {"nsenter", absl::StrCat("--net=/proc/", daemon().pid(), "/ns/net")};
    child.arguments.insert(child.arguments.end(), command.begin(), command.end());
    return RunCommand(child);
  };
  ASSERT_EQ(inside({"ip", "link", "set", "lo", "up"}).exit_code, 0);
  ASSERT_EQ(inside({"ip", "address", "add", "192.0.2.55/32", "dev", "lo"}).exit_code, 0);
  WaitUntil("clients can connect to the address", [&] {
    return inside(VmeventsCommand("192.0.2.55:9555", {"health", "listen"})).exit_code == 0;
  });
}

}  // namespace
}  // namespace vmeventd::e2e
