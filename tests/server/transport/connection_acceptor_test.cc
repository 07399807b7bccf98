#include "server/transport/connection_acceptor.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include "server/config/listen_address.h"
#include "server/transport/accepting_socket.h"
#include "server/transport/descriptor_shares.h"
#include "server/transport/http2_frame.h"
#include "server/transport/listen_socket.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/unix_socket.h"

namespace vmeventd {
namespace {

// An acceptor with a Unix socket and a TCP port; the test takes the connections.
class ConnectionAcceptorTest : public ::testing::Test {
 protected:
  void Open(int max_connections, const std::string& tcp = "127.0.0.1:0") {
    acceptor_ = ConnectionAcceptor::Create(
                    {.addresses = {ParseListenAddress("unix:" + (directory_ / "s")).value(),
                                   ParseListenAddress(tcp).value()},
                     .take = [this](int fd) { taken_.emplace_back(fd); },
                     .max_connections = max_connections},
                    &clock_, &clients_, &refusals_)
                    .value();
  }
  ListenerState State(size_t listener) const { return acceptor_->listeners()[listener]; }

  // Sends what shows that it speaks HTTP/2.
  static UniqueFd SendPreface(UniqueFd fd) {
    EXPECT_EQ(send(fd.get(), kHttp2Preface.data(), kHttp2Preface.size(), 0), kHttp2Preface.size());
    return fd;
  }
  UniqueFd ConnectTcp(const char* from) { return SendPreface(ConnectSilently(from)); }
  UniqueFd ConnectUnix() { return SendPreface(ConnectUnixSilently()); }

  UniqueFd ConnectSilently(const char* from) {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in own{};
    own.sin_family = AF_INET;
    EXPECT_EQ(inet_pton(AF_INET, from, &own.sin_addr), 1);
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&own), sizeof(own)), 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(State(1).address.port);
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    ++connected_;
    return fd;
  }

  UniqueFd ConnectUnixSilently() {
    UniqueFd fd(e2e::ConnectUnix(State(0).address.path));
    EXPECT_TRUE(fd.valid());
    return fd;
  }

  // Accepts and relays until nothing is pending. A connection by TCP may be in its listener's queue
  // a moment after it was made, and its preface under way.
  void Accept() {
    while (AcceptedByTcp() < connected_) acceptor_->AcceptOnce(absl::Milliseconds(10));
    for (int i = 0; i < 20; ++i) Turn();
  }
  bool Turn() {
    acceptor_->AcceptOnce(absl::ZeroDuration());
    return acceptor_->RelayOnce(absl::ZeroDuration());
  }
  // Passed on or refused.
  uint64_t AcceptedByTcp() const {
    return static_cast<uint64_t>(State(1).connections) + refusals_.value(Refusal::kConnections) +
           refusals_.value(Refusal::kConnectionsPerPeer);
  }

  // Returns whether the peer has closed it.
  static bool Closed(const UniqueFd& fd) {
    char byte = 0;
    return recv(fd.get(), &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
  }
  // The same of one whose end may still be on its way.
  static bool UntilClosed(const UniqueFd& fd) {
    pollfd end = {fd.get(), POLLIN, 0};
    return poll(&end, 1, 30'000) == 1 && Closed(fd);
  }

  const TemporaryDirectory directory_;
  ManualClock clock_;
  RefusalCounters refusals_;
  Clients clients_{CallLimits(), &refusals_};
  std::vector<UniqueFd> taken_;
  uint64_t connected_ = 0;  // by TCP
  std::unique_ptr<ConnectionAcceptor> acceptor_;
};

TEST_F(ConnectionAcceptorTest, APeerMayHaveAtMostHalfOfTheConnections) {
  Open(4);
  std::vector<UniqueFd> own;
  for (int i = 0; i < 3; ++i) {
    own.push_back(ConnectTcp("127.0.0.2"));
    Accept();  // before the next, which could overtake it on its way
  }
  EXPECT_TRUE(UntilClosed(own[2]));
  EXPECT_FALSE(Closed(own[1]));
  EXPECT_EQ(refusals_.value(Refusal::kConnectionsPerPeer), 1);
  const UniqueFd other = ConnectTcp("127.0.0.3");
  Accept();
  EXPECT_FALSE(Closed(other));
}

TEST_F(ConnectionAcceptorTest, AFullListenerDoesNotAffectOthers) {
  Open(4);
  std::vector<UniqueFd> own;
  for (const char* from : {"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6"}) {
    own.push_back(ConnectTcp(from));
    Accept();
  }
  EXPECT_TRUE(UntilClosed(own[4]));
  EXPECT_EQ(refusals_.value(Refusal::kConnections), 1);
  const UniqueFd by_unix = ConnectUnix();
  Accept();
  EXPECT_FALSE(Closed(by_unix));
  EXPECT_EQ(State(0).connections, 1);
  EXPECT_EQ(State(1).connections, 4);
}

TEST_F(ConnectionAcceptorTest, AClosedConnectionMakesRoom) {
  Open(2);
  UniqueFd first = ConnectUnix();
  Accept();
  const UniqueFd refused = ConnectUnix();
  Accept();
  EXPECT_TRUE(UntilClosed(refused));
  first.Reset();
  Accept();
  const UniqueFd next = ConnectUnix();
  Accept();
  EXPECT_FALSE(Closed(next));
  EXPECT_EQ(State(0).connections, 1);
}

TEST_F(ConnectionAcceptorTest, KnowsThePeerOfEachConnection) {
  Open(10);
  std::vector<UniqueFd> own;
  for (const char* from : {"127.0.0.2", "127.0.0.3"}) {
    own.push_back(ConnectTcp(from));
    Accept();
  }
  ASSERT_EQ(taken_.size(), 2);
  std::vector<std::string> peers;
  for (const UniqueFd& fd : taken_) {
    sockaddr_un name{};
    socklen_t size = sizeof(name);
    ASSERT_EQ(getpeername(fd.get(), reinterpret_cast<sockaddr*>(&name), &size), 0);
    const std::string path(name.sun_path + 1, size - offsetof(sockaddr_un, sun_path) - 1);
    peers.push_back(clients_.Begin("unix-abstract:" + path, CallKind::kOther)->caller().peer);
  }
  EXPECT_EQ(peers, (std::vector<std::string>{"127.0.0.2", "127.0.0.3"}));
}

TEST_F(ConnectionAcceptorTest, ASilentConnectionDoesNotCountAsServed) {
  Open(2);
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 10; ++i) silent.push_back(ConnectUnixSilently());
  Accept();
  EXPECT_TRUE(taken_.empty());
  EXPECT_EQ(State(0).connections, 0);
  const UniqueFd other = ConnectUnix();
  Accept();
  EXPECT_EQ(taken_.size(), 1);
  clock_.Advance(absl::Seconds(10));
  Accept();
  for (const UniqueFd& fd : silent) EXPECT_TRUE(Closed(fd));
  EXPECT_FALSE(Closed(other));
  EXPECT_EQ(refusals_.value(Refusal::kHandshakes), 10);
}

TEST_F(ConnectionAcceptorTest, APrefaceMayComeInPieces) {
  Open(2);
  const UniqueFd slow = ConnectUnixSilently();
  for (const char byte : kHttp2Preface) {
    EXPECT_TRUE(taken_.empty());
    EXPECT_EQ(send(slow.get(), &byte, 1, 0), 1);
    Accept();
  }
  EXPECT_EQ(taken_.size(), 1);
  const UniqueFd browser = ConnectUnixSilently();
  EXPECT_EQ(send(browser.get(), "GET", 3, 0), 3);
  Accept();
  EXPECT_TRUE(UntilClosed(browser));
}

TEST_F(ConnectionAcceptorTest, WaitsWhileOutOfDescriptors) {
  Open(10);
  const UniqueFd waiting = ConnectUnix();
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  const rlimit none = {0, old.rlim_max};  // whatever another thread may close meanwhile
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  Accept();
  Accept();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
  EXPECT_TRUE(taken_.empty());
  EXPECT_FALSE(Closed(waiting));
  EXPECT_GE(refusals_.value(Refusal::kDescriptors), 1);
  clock_.Advance(AcceptingSocket::kDescriptorPause);
  Accept();
  EXPECT_EQ(taken_.size(), 1) << "accepted as soon as one is free";
}

TEST_F(ConnectionAcceptorTest, NoSocketIsOpenedAfterTheStop) {
  std::unique_ptr<ListenSocket> other =
      ListenSocket::Open(ParseListenAddress("127.0.0.1:0").value()).value();
  Open(10, other->address().ToString());
  Turn();
  acceptor_->StopAccepting();
  other.reset();
  clock_.Advance(AcceptingSocket::kMaxRetry);
  Turn();
  EXPECT_FALSE(State(1).listening);
}

TEST_F(ConnectionAcceptorTest, StopsFromAnotherThread) {
  Open(2);
  std::thread relay([this] { acceptor_->RunRelay(); });
  std::thread acceptor([this] { acceptor_->RunAccepting(); });
  acceptor_->Stop(absl::ZeroDuration());
  relay.join();
  acceptor.join();
  EXPECT_FALSE(acceptor_->RelayOnce(absl::ZeroDuration()));
  EXPECT_FALSE(acceptor_->AcceptOnce(absl::ZeroDuration()));
}

TEST_F(ConnectionAcceptorTest, AfterTheStopConnectionsLastUntilTheirEndOrTheDeadline) {
  Open(4);
  UniqueFd first = ConnectUnix();
  Accept();
  acceptor_->StopAccepting();
  const UniqueFd late = ConnectUnix();
  Accept();
  EXPECT_EQ(taken_.size(), 1);
  acceptor_->Stop(absl::Hours(1));
  const std::string frame(9, '\0');
  ASSERT_EQ(send(taken_[0].get(), frame.data(), frame.size(), 0), 9);
  Accept();
  char byte = 0;
  EXPECT_EQ(recv(first.get(), &byte, 1, MSG_DONTWAIT), 1);
  first.Reset();
  Accept();
  EXPECT_FALSE(acceptor_->RelayOnce(absl::ZeroDuration())) << "no connection is left";
}

TEST_F(ConnectionAcceptorTest, AClientThatStaysDoesNotDelayTheStop) {
  Open(4);
  const UniqueFd first = ConnectUnix();
  Accept();
  acceptor_->Stop(absl::ZeroDuration());
  EXPECT_FALSE(acceptor_->RelayOnce(absl::ZeroDuration()));
  EXPECT_TRUE(UntilClosed(first));
}

TEST(DescriptorShares, ProtectVmsFromClientsAndClientsFromVms) {
  const struct {
    uint64_t limit;
    size_t listeners;
    int wanted;
    DescriptorShares is;
  } rows[] = {
      {16, 1, 4'000, {0, 4, 4}},
      {64, 1, 4'000, {32, 4, 4}},
      {1024, 1, 4'000, {768, 48, 48}},
      {1024, 2, 4'000, {768, 24, 24}},
      {1'048'576, 1, 4'000, {1'048'576 - 12'564, 4'000, 500}},
      {UINT64_MAX, 3, 4'000, {1 << 20, 4'000, 500}},
  };
  for (const auto& row : rows) {
    const DescriptorShares shares = ShareDescriptors(row.limit, row.listeners, row.wanted);
    EXPECT_EQ(shares.vms, row.is.vms) << row.limit;
    EXPECT_EQ(shares.connections, row.is.connections) << row.limit;
    EXPECT_EQ(shares.arrivals, row.is.arrivals) << row.limit;
  }
}

}  // namespace
}  // namespace vmeventd
