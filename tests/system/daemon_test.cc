// The daemon as a process: its locks, its end, its refusals.

#include <sys/stat.h>

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
  static CommandResult RunDaemon(const std::vector<std::string>& arguments) {
    ChildOptions child;
    child.arguments = {ProgramPath("vmeventd")};
    child.arguments.insert(child.arguments.end(), arguments.begin(), arguments.end());
    return RunCommand(child);
  }
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
  daemon().WaitLog(absl::StrCat("gRPC cannot listen on ", address, ": ", address,
                                ": another process listens on this port"));
  EXPECT_EQ(ListenHealth(daemon().server_address()), 1);
  taken.Reset();
  daemon().WaitLog(absl::StrCat("gRPC listens on ", address, " now"));
  EXPECT_EQ(ListenHealth(address), 0);
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
  const CommandResult health = inside(VmeventsCommand("192.0.2.55:9555", {"health", "listen"}));
  EXPECT_EQ(health.exit_code, 0) << health.error;
}

TEST_F(DaemonTest, FaultsThatMayPassAreNoWrongUsage) {
  const CommandResult group =
      RunDaemon({"--listen", absl::StrCat("unix:", dir() / "s", ",group=no-such-group")});
  EXPECT_EQ(group.exit_code, 1);
  EXPECT_THAT(group.error, HasSubstr("no-such-group"));
  const CommandResult checked = RunDaemon(
      {"--check-config", "--listen", absl::StrCat("unix:", dir() / "s", ",group=no-such-group")});
  EXPECT_EQ(checked.exit_code, 2);
}

TEST_F(DaemonTest, SocketIsForItsGroupInItsOwnDirectory) {
  StartDaemon();
  struct stat info {};
  ASSERT_EQ(stat(Options().socket.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0660u);
  ASSERT_EQ(stat((dir() / "run").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0750u);
}

TEST_F(DaemonTest, VersionAndCheckedConfiguration) {
  const CommandResult version = RunDaemon({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.output, HasSubstr("vmeventd"));
  const CommandResult good = RunDaemon({"--check-config", "--watch", watch_dir() + ":*.qmp"});
  EXPECT_EQ(good.exit_code, 0) << good.error;
  EXPECT_THAT(good.output, HasSubstr(watch_dir()));
}

TEST_F(DaemonTest, WrongFlagsAreNamed) {
  const std::vector<std::vector<std::string>> wrong = {
      {"--wacht", "/run"}, {"--powerdown-window", "soon"}, {"--listen", "192.0.2.1:7000"}};
  for (const std::vector<std::string>& arguments : wrong) {
    const CommandResult result = RunDaemon(arguments);
    EXPECT_EQ(result.exit_code, 2);
    const std::string& named = arguments[0] == "--listen" ? arguments[1] : arguments[0];
    EXPECT_THAT(result.error, HasSubstr(named));
  }
}

}  // namespace
}  // namespace vmeventd::e2e
