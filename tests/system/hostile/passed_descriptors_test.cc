// Peers that pass descriptors whose close takes an hour, and keep none of their own.

#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/passed_descriptor.h"
#include "tests/support/unix_socket.h"
#include "tests/system/hostile/hostile_test.h"
#include "tests/system/hostile/rogue_monitor.h"

namespace vmeventd::e2e {
namespace {

constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// What is passed, but for the peers, which have to live.
class Passed {
 public:
  // Whether the kernel refused it.
  bool Pass(int socket, const std::string& bytes) {
    kept_.push_back(MakeLingering());
    const int error = PassDescriptor(socket, bytes, kept_.back().socket.get());
    // The only reference that is left would wait here.
    const linger none{1, 0};
    if (error != 0) {
      setsockopt(kept_.back().socket.get(), SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    }
    kept_.back().socket.Reset();
    EXPECT_THAT(error, testing::AnyOf(0, EPERM, EPIPE));
    return error == EPERM;
  }

 private:
  std::vector<LingeringConnection> kept_;
};

class PassedDescriptorsTest : public HostileTest {
 protected:
  // Some are met by a read, the others wait in the socket when it is closed.
  void AttackMonitors() {
    std::vector<std::unique_ptr<RogueMonitor>> rogues;
    rogues.reserve(8);
    for (int i = 0; i < 8; ++i) {
      rogues.push_back(std::make_unique<RogueMonitor>(
          absl::StrCat(watch_dir(), "/rogue", i, ".kvmd"),
          [i](const RogueMonitor::Peer& peer, int) {
            static auto* const passed = new Passed;  // until the process is killed
            if (i % 2 == 0) peer.Handshake();
            for (int j = 0; j < 4 && !passed->Pass(peer.fd(), i % 2 == 0 ? "\r\n" : "?\r\n"); ++j) {
            }
            if (i % 2 != 0) peer.Send("no QMP\r\n");
          }));
    }
    for (int i = 0; i < 4; ++i) ExpectServes(absl::StrCat("vm", i));
  }

  void AttackCalls() {
    Passed passed;
    std::vector<UniqueFd> clients;
    for (int i = 0; i < 8; ++i) {
      clients.emplace_back(ConnectUnix(Options().socket));
      ASSERT_TRUE(clients.back().valid());
      for (int j = 0; j < 4 && !passed.Pass(clients.back().get(), kPreface); ++j) {
      }
      if (i % 2 == 0) clients.back().Reset();
      EXPECT_FALSE(Vmevents({"info"}).empty());
    }
    ExpectServes("vm");
  }
};

TEST_F(PassedDescriptorsTest, OfMonitorsDelayNobody) {
  StartDaemonAndStream();
  AttackMonitors();
}

TEST_F(PassedDescriptorsTest, OfClientsDelayNobody) {
  StartDaemonAndStream();
  AttackCalls();
}

TEST_F(PassedDescriptorsTest, BeforeLinux616OfMonitorsDelayNobody) {
  ForgetPassRights();
  StartDaemonAndStream();
  AttackMonitors();
}

TEST_F(PassedDescriptorsTest, BeforeLinux616OfClientsDelayNobody) {
  ForgetPassRights();
  StartDaemonAndStream();
  AttackCalls();
}

}  // namespace
}  // namespace vmeventd::e2e
