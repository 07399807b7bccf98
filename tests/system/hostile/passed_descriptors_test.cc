// Peers that pass descriptors whose close takes an hour, and keep none of their own.

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/support/child_process.h"
#include "tests/support/files.h"
#include "tests/support/passed_descriptor.h"
#include "tests/support/unix_socket.h"
#include "tests/support/wait.h"
#include "tests/system/hostile/hostile_test.h"
#include "tests/system/hostile/rogue_monitor.h"

namespace vmeventd::e2e {
namespace {

constexpr char kBeginOfCalls[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Peers that pass descriptors, and wait until these are closed.
class Passed {
 public:
  void Pass(int socket, const std::string& bytes) {
    passers_.push_back(std::make_unique<ChildProcess>(
        ChildOptions{.arguments = {VMEVENTD_PASS_LINGERING, bytes}, .descriptor = socket}));
    const std::string output = passers_.back()->ReadUntil("\n");
    int error = -1;
    EXPECT_TRUE(absl::SimpleAtoi(output, &error)) << output;
    EXPECT_THAT(error, testing::AnyOf(0, EPERM, EPIPE));
  }

 private:
  std::vector<std::unique_ptr<ChildProcess>> passers_;
};

class PassedDescriptorsTest : public HostileTest {
 protected:
  // Some descriptors are met by a read, the others are in the socket when it is closed.
  void AttackMonitors() {
    std::vector<std::unique_ptr<RogueMonitor>> rogues;
    rogues.reserve(8);
    for (int i = 0; i < 8; ++i) {
      rogues.push_back(std::make_unique<RogueMonitor>(
          absl::StrCat(watch_dir(), "/rogue", i, ".kvmd"),
          [i, done = dir() / absl::StrCat("passed", i)](const RogueMonitor::Peer& peer, int) {
            static auto* const passed = new Passed;  // until the process is killed
            if (i % 2 == 0) peer.Handshake();
            passed->Pass(peer.fd(), i % 2 == 0 ? "\r\n" : "?\r\n");
            if (i % 2 != 0) peer.Send("no QMP\r\n");
            Touch(done);
          }));
    }
    for (int i = 0; i < 8; ++i) {
      WaitUntil("everything is passed", [&] { return Exists(dir() / absl::StrCat("passed", i)); });
    }
    for (int i = 0; i < 4; ++i) ExpectServes(absl::StrCat("vm", i));
  }

  void AttackCalls() {
    Passed passed;
    std::vector<UniqueFd> clients;
    for (int i = 0; i < 8; ++i) {
      clients.emplace_back(ConnectUnix(Options().socket));
      ASSERT_TRUE(clients.back().valid());
      passed.Pass(clients.back().get(), kBeginOfCalls);
      if (i % 2 == 0) clients.back().Reset();
      EXPECT_FALSE(Vmevents({"info"}).empty());
    }
    ExpectServes("vm");
  }
};

TEST_F(PassedDescriptorsTest, DescriptorsPassedByMonitorsDelayNobody) {
  StartDaemonAndStream();
  AttackMonitors();
}

TEST_F(PassedDescriptorsTest, DescriptorsPassedByClientsDelayNobody) {
  StartDaemonAndStream();
  AttackCalls();
}

TEST_F(PassedDescriptorsTest, BeforeLinux616DescriptorsPassedByMonitorsDelayNobody) {
  ForgetPassRights();
  StartDaemonAndStream();
  AttackMonitors();
}

TEST_F(PassedDescriptorsTest, BeforeLinux616DescriptorsPassedByClientsDelayNobody) {
  ForgetPassRights();
  StartDaemonAndStream();
  AttackCalls();
}

}  // namespace
}  // namespace vmeventd::e2e
