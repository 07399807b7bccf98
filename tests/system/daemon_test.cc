// The daemon as a process: its locks, its end, its refusals.

#include <sys/stat.h>

#include <csignal>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/loopback.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;

class DaemonTest : public E2eTest {
 protected:
  static CommandResult RunDaemon(const std::vector<std::string>& arguments) {
    ChildOptions child;
    child.arguments = {VMEVENTD_BINARY};
    child.arguments.insert(child.arguments.end(), arguments.begin(), arguments.end());
    return RunCommand(child);
  }
  static CommandResult Client(const std::string& server, std::vector<std::string> arguments) {
    ChildOptions child;
    child.arguments = {VMEVENTS_BINARY, "--server", server};
    child.arguments.insert(child.arguments.end(), arguments.begin(), arguments.end());
    return RunCommand(child);
  }
};

TEST_F(DaemonTest, SecondOneOnTheSameSocketIsRefused) {
  StartDaemon();
  DaemonOptions second = Options();
  second.state_dir = dir() / "other-state";
  const CommandResult result = RunCommand(DaemonCommand(second));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.error, HasSubstr(second.socket));
  EXPECT_NE(daemon().GetServerInfo().version(), "") << "the first one still serves";
}

TEST_F(DaemonTest, SecondOneOnTheSameStateDirectoryIsRefused) {
  StartDaemon();
  DaemonOptions second = Options();
  second.socket = dir() / "other-run/vmeventd.sock";
  const CommandResult result = RunCommand(DaemonCommand(second));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.error, HasSubstr(second.state_dir));
  EXPECT_NE(daemon().GetServerInfo().version(), "") << "the first one still serves";
}

TEST_F(DaemonTest, APortThatIsTakenStopsNoWatching) {
  uint16_t port = 0;
  UniqueFd taken = ListenOnLoopback(&port);
  const std::string address = absl::StrCat("127.0.0.1:", port);
  DaemonOptions options = Options();
  options.arguments.insert(options.arguments.end(), {"--listen", address});
  StartDaemon(options);
  FakeQemu qemu(VMEVENTD_FAKE_QEMU);
  qemu.AddMonitor(watch_dir() + "/vm1.kvmd");
  WaitUntil("vm1 is followed", [&] { return daemon().ListVms(false).size() == 1; });
  daemon().WaitLog(absl::StrCat("gRPC does not listen on ", address, ": ", address,
                                ": another process listens on this port"));
  EXPECT_EQ(Client(daemon().server_address(), {"health", "listen"}).exit_code, 1);
  taken.Reset();
  WaitUntil("the port is opened", [&] {
    return absl::StrContains(daemon().Log(), absl::StrCat("gRPC listens on ", address, " now"));
  });
  EXPECT_EQ(Client(address, {"health", "listen"}).exit_code, 0);
}

// In a network namespace, where the address can come later.
TEST_F(DaemonTest, AnAddressMayComeAfterTheStart) {
  DaemonOptions options = Options();
  options.wrapper = {"unshare", "--net"};
  options.arguments.insert(options.arguments.end(),
                           {"--listen", "192.0.2.55:9555", "--insecure-listen"});
  StartDaemon(options);
  const auto inside = [this](std::vector<std::string> command) {
    ChildOptions child;
    child.arguments = {"nsenter", absl::StrCat("--net=/proc/", daemon().pid(), "/ns/net")};
    child.arguments.insert(child.arguments.end(), command.begin(), command.end());
    return RunCommand(child);
  };
  ASSERT_EQ(inside({"ip", "link", "set", "lo", "up"}).exit_code, 0);
  ASSERT_EQ(inside({"ip", "address", "add", "192.0.2.55/32", "dev", "lo"}).exit_code, 0);
  const CommandResult health =
      inside({VMEVENTS_BINARY, "--server", "192.0.2.55:9555", "health", "listen"});
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
  const CommandResult unknown = RunDaemon({"--wacht", "/run"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.error, HasSubstr("--wacht"));
  const CommandResult window = RunDaemon({"--powerdown-window", "soon"});
  EXPECT_EQ(window.exit_code, 2);
  EXPECT_THAT(window.error, HasSubstr("--powerdown-window"));
  const CommandResult address = RunDaemon({"--listen", "192.0.2.1:7000"});
  EXPECT_EQ(address.exit_code, 2);
  EXPECT_THAT(address.error, HasSubstr("192.0.2.1:7000"));
}

}  // namespace
}  // namespace vmeventd::e2e
