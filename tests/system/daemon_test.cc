// The daemon as a process: its locks, its state directory and its listeners.

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/loopback.h"
#include "tests/support/programs.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;

class DaemonTest : public E2eTest {
 protected:
  // Whether the server says that all it was to listen on is open: the exit code.
  static int ListenHealth(const std::string& server) {
    return RunCommand({.arguments = VmeventsCommand(server, {"health", "listen"})}).exit_code;
  }
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

TEST_F(DaemonTest, APortThatIsTakenStopsNoWatching) {
  uint16_t port = 0;
  UniqueFd taken = ListenOnLoopback(&port);
  const std::string address = absl::StrCat("127.0.0.1:", port);
  StartDaemon(Options({"--listen", address}));
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  qemu.AddMonitor(watch_dir() + "/vm1.kvmd");
  WaitUntil("vm1 is followed", [&] { return daemon().ListVms(false).size() == 1; });
  daemon().WaitLog(
      absl::StrCat("gRPC cannot listen on ", address, ": another process listens on this port"));
  EXPECT_EQ(ListenHealth(daemon().server_address()), 1);
  taken.Reset();
  daemon().WaitLog(absl::StrCat("gRPC listens on ", address, " now"));
  EXPECT_EQ(ListenHealth(address), 0);
}

class StateDirectoryTest : public E2eTest {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(path());
    chmod(path().c_str(), 0750);
  }
  std::string path() const { return Options().state_dir; }
  static void ExpectRefused(const DaemonOptions& options, const std::vector<std::string>& words) {
    const CommandResult result = RunCommand(DaemonCommand(options));
    EXPECT_EQ(result.exit_code, 1);
    for (const std::string& word : words) EXPECT_THAT(result.error, HasSubstr(word));
    EXPECT_THAT(result.error, HasSubstr(options.state_dir));
  }
};

TEST_F(StateDirectoryTest, WorldWritableIsRefused) {
  chmod(path().c_str(), 0777);
  ExpectRefused(Options(), {"chmod o-w"});
}

TEST_F(StateDirectoryTest, AnotherUsersIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may give a directory away";
  ASSERT_EQ(chown(path().c_str(), 65534, 65534), 0);
  ExpectRefused(Options(), {"65534", "belongs"});
}

TEST_F(StateDirectoryTest, ReadOnlyIsRefused) {
  DaemonOptions options = Options();
  if (geteuid() == 0) {  // root may write everywhere
    options.wrapper = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    chmod(dir().path().c_str(), 0755);
    ASSERT_EQ(chown(path().c_str(), 65534, 65534), 0);
    options.program = CopyProgram(dir().path());
  }
  chmod(path().c_str(), 0550);
  ExpectRefused(options, {"not writable"});
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
