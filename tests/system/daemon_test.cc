// The daemon as a process: its locks, its state directory and its listeners.

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/machine_probe.h"
#include "tests/support/programs.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"
#include "tests/system/vm_end.h"
#include "tests/system/vmevents_command.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;

// An event of QMP.
std::string QmpEvent(const std::string& name, const std::string& data) {
  return absl::StrCat(R"({"timestamp": {"seconds": 1, "microseconds": 2}, "event": ")", name,
                      R"(", "data": )", data, "}\r\n");
}

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

TEST_F(DaemonTest, ASecondDaemonOnTheSameSocketIsRefused) {
  StartDaemon();
  DaemonOptions second = Options();
  second.state_dir = dir() / "other-state";
  ExpectRefused(second, second.socket);
}

TEST_F(DaemonTest, ASecondDaemonOnTheSameStateDirectoryIsRefused) {
  StartDaemon();
  DaemonOptions second = Options();
  second.socket = dir() / "other-run/vmeventd.sock";
  ExpectRefused(second, second.state_dir);
}

// `rm -rf /run/vmeventd/*` removes it, and so does a volume that is created again.
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

// Runs in a network namespace, to which the address is added later.
TEST_F(DaemonTest, AnAddressAddedAfterTheStartIsListenedOn) {
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

// In a time namespace, whose clocks differ by as much as after 8 hours of suspend: the kernel dates
// processes by CLOCK_BOOTTIME, and windows and intents use CLOCK_MONOTONIC.
TEST_F(DaemonTest, WindowsAndStartTimesAreRightOnANodeThatWasSuspended) {
  if (const std::string why = WhyNoTimeNamespace(); !why.empty()) GTEST_SKIP() << why;
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  const int monitor = qemu.AddMonitor(watch_dir() + "/vm1.kvmd");
  const absl::Time started = absl::Now();
  DaemonOptions options = Options();
  options.wrapper = {"unshare", "--time", "--boottime", "28800"};
  StartDaemonAndStream(options);
  WaitFollowed("vm1");
  const auto declare = [this](absl::Time started_before) {
    v1::DeclareIntentRequest request;
    request.set_vm_name("vm1");
    request.set_actor("orchestrator");
    request.set_reason("makes room");
    *request.mutable_started_before() = ToTimestamp(started_before);
    grpc::ClientContext context;
    v1::DeclareIntentResponse response;
    return daemon().stub().DeclareIntent(&context, request, &response).error_code();
  };
  EXPECT_EQ(declare(started - absl::Minutes(1)), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(declare(absl::Now()), grpc::StatusCode::OK);
  qemu.Send(monitor, QmpEvent("POWERDOWN", "{}"));
  qemu.Send(monitor, QmpEvent("SHUTDOWN", R"({"guest": true, "reason": "guest-shutdown"})"));
  qemu.Exit();
  const v1::Event stopped = ExpectStopped(kHostPowerdown);
  EXPECT_EQ(stopped.shutdown().intent().actor(), "orchestrator");
}

}  // namespace
}  // namespace vmeventd::e2e
