#include "server/transport/arrivals.h"

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/config/tls_material.h"
#include "server/transport/frames.h"
#include "server/transport/wire.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_certificates.h"
#include "tests/support/test_events.h"
#include "tests/support/watched_by_epoll.h"

namespace vmeventd {
namespace {

class ArrivalsTest : public ::testing::Test {
 protected:
  void SetUp() override { signal(SIGPIPE, SIG_IGN); }
  void Open(ArrivalLimits limits = {}) {
    arrivals_ = std::make_unique<Arrivals>(
        2, limits, loop_.get(), &refusals_,
        [this](Arrivals::Arrived arrived) { arrived_.push_back(std::move(arrived)); });
  }
  void Turn() { loop_->RunOnce(absl::ZeroDuration()); }
  // The client's end of a connection, which is looked at in the next turn.
  UniqueFd Add(const std::string& peer, size_t listener = 0, SSL_CTX* context = nullptr) {
    int pair[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    arrivals_->Add(listener, ReceivingSocket(UniqueFd(pair[0]), &closer_), peer, context);
    return UniqueFd(pair[1]);
  }
  UniqueFd Connect(const std::string& peer, size_t listener = 0, SSL_CTX* context = nullptr) {
    UniqueFd client = Add(peer, listener, context);
    Turn();
    return client;
  }
  static bool Closed(const UniqueFd& fd) {
    char byte = 0;
    const ssize_t size = recv(fd.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    // Reset: what it had sent was not read.
    return size == 0 || (size < 0 && errno == ECONNRESET);
  }

  // A client of TLS on `fd`.
  SslPtr Client(const UniqueFd& fd, bool offers_http2 = true, bool with_certificate = true) {
    const SslContextPtr context(SSL_CTX_new(TLS_client_method()));
    if (with_certificate) {
      SSL_CTX_use_certificate_chain_file(context.get(), own_.certificate.c_str());
      SSL_CTX_use_PrivateKey_file(context.get(), own_.key.c_str(), SSL_FILETYPE_PEM);
    }
    const unsigned char http2[] = {2, 'h', '2'};
    const unsigned char http1[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    if (offers_http2) {
      SSL_CTX_set_alpn_protos(context.get(), http2, sizeof(http2));
    } else {
      SSL_CTX_set_alpn_protos(context.get(), http1, sizeof(http1));
    }
    SslPtr out(SSL_new(context.get()));
    SSL_set_fd(out.get(), fd.get());
    SSL_set_connect_state(out.get());
    return out;
  }
  // A connection over TLS that is served, and its client.
  struct Served {
    UniqueFd socket;
    SslPtr client;
    std::unique_ptr<Wire> wire;
  };
  Served Serve(size_t listener = 0) {
    Open();
    Served out;
    out.socket = Connect("a", listener, material_.context.get());
    out.client = Client(out.socket);
    Shake(out.client);
    EXPECT_EQ(arrived_.size(), 1);
    EXPECT_EQ(arrived_[0].listener, listener);
    out.wire = std::make_unique<Wire>(std::move(arrived_[0].socket), std::move(arrived_[0].tls));
    return out;
  }
  // Both sides go on until nothing more happens.
  void Shake(const SslPtr& client) {
    for (int i = 0; i < 10; ++i) {
      SSL_do_handshake(client.get());
      Turn();
    }
  }

  const TemporaryDirectory directory_;
  const std::unique_ptr<CertificateAuthority> authority_ =
      MakeCertificateAuthority(directory_.path());
  const CertificateFiles server_ = authority_->Issue(ServerCertificate());
  const CertificateFiles own_ = authority_->Issue(ClientCertificate("spiffe://site/reader"));
  const TlsMaterial material_ =
      LoadTlsMaterial({server_.certificate, server_.key, authority_->certificate()}).value();
  FakeClock clock_;
  RefusalCounters refusals_;
  SocketCloser closer_;
  const std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::vector<Arrivals::Arrived> arrived_;
  std::unique_ptr<Arrivals> arrivals_;
};

TEST_F(ArrivalsTest, ThePeerWithTheMostLosesItsOldest) {
  Open({.at_once = 4});
  const UniqueFd honest = Connect("honest");
  std::vector<UniqueFd> flood;
  for (int i = 0; i < 100; ++i) flood.push_back(Connect(i % 2 == 0 ? "one" : "two"));
  EXPECT_EQ(arrivals_->size(), 4);
  EXPECT_FALSE(Closed(honest));
  EXPECT_TRUE(Closed(flood[96]));
  EXPECT_FALSE(Closed(flood[99]));
  EXPECT_EQ(refusals_.value(Refusal::kHandshakes), 97);
  const UniqueFd elsewhere = Connect("one", 1);
  EXPECT_EQ(arrivals_->size(), 5) << "of another listener";
  EXPECT_EQ(send(honest.get(), kHttp2Preface.data(), kHttp2Preface.size(), 0), 24);
  Turn();
  ASSERT_EQ(arrived_.size(), 1);
  EXPECT_EQ(arrived_[0].peer, "honest");
}

TEST_F(ArrivalsTest, OfManyPeersWithOneEachTheOldestGoes) {
  Open({.at_once = 4});
  std::vector<UniqueFd> flood;
  for (int i = 0; i < 50; ++i) flood.push_back(Connect(absl::StrCat("before ", i)));
  const UniqueFd honest = Connect("honest");
  for (int i = 0; i < 3; ++i) flood.push_back(Connect(absl::StrCat("after ", i)));
  EXPECT_FALSE(Closed(honest));
  flood.push_back(Connect("last"));
  EXPECT_TRUE(Closed(honest));
}

TEST_F(ArrivalsTest, WhoHasSpokenOutlivesWhoIsSilent) {
  Open({.at_once = 4});
  const UniqueFd shakes = Connect("in its handshake", 0, material_.context.get());
  const SslPtr client = Client(shakes);
  SSL_do_handshake(client.get());
  Turn();  // has answered
  const UniqueFd speaks = Connect("begins");
  EXPECT_EQ(send(speaks.get(), kHttp2Preface.data(), 3, 0), 3);  // and was not looked at
  std::vector<UniqueFd> flood;
  for (int i = 0; i < 50; ++i) flood.push_back(Add(absl::StrCat("silent ", i)));
  EXPECT_FALSE(Closed(speaks));
  Shake(client);
  ASSERT_EQ(arrived_.size(), 1);
  EXPECT_EQ(arrived_[0].peer, "in its handshake");
  EXPECT_TRUE(Closed(flood[47]));
  EXPECT_FALSE(Closed(flood[49]));
}

TEST_F(ArrivalsTest, WhereAllHaveSpokenTheOldestGoes) {
  Open({.at_once = 4});
  std::vector<UniqueFd> peers;
  for (int i = 0; i < 5; ++i) {
    peers.push_back(Connect(absl::StrCat("peer ", i)));
    EXPECT_EQ(send(peers.back().get(), kHttp2Preface.data(), 3, 0), 3);
  }
  EXPECT_TRUE(Closed(peers[0]));
  EXPECT_FALSE(Closed(peers[1]));
}

// Else epoll_wait could hold the last reference to it, and would wait for what it holds.
TEST_F(ArrivalsTest, AClosedArrivalIsNotWatched) {
  Open();
  int pair[2] = {-1, -1};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
  const UniqueFd client(pair[1]);
  const UniqueFd still_open(dup(pair[0]));
  arrivals_->Add(0, ReceivingSocket(UniqueFd(pair[0]), &closer_), "a", nullptr);
  EXPECT_TRUE(IsWatchedByEpoll(still_open.get()));
  arrivals_->CloseAll();
  EXPECT_FALSE(IsWatchedByEpoll(still_open.get()));
}

TEST_F(ArrivalsTest, TheTimeIsLimited) {
  Open();
  const UniqueFd silent = Connect("a", 0, material_.context.get());
  clock_.Advance(absl::Seconds(9));
  const UniqueFd later = Connect("a");
  EXPECT_FALSE(Closed(silent));
  clock_.Advance(absl::Seconds(1));
  Turn();
  EXPECT_TRUE(Closed(silent));
  EXPECT_FALSE(Closed(later));
  clock_.Advance(absl::Seconds(9));
  Turn();
  EXPECT_TRUE(Closed(later));
}

TEST_F(ArrivalsTest, AHandshakeThatIsDoneIsServed) {
  const Served served = Serve(1);
  Wire& wire = *served.wire;
  EXPECT_EQ(SSL_write(served.client.get(), "hello", 5), 5);
  char bytes[3];
  EXPECT_EQ(wire.Receive(bytes, sizeof(bytes)), 3);
  EXPECT_TRUE(wire.HasPending()) << "OpenSSL has it, the socket has not";
  EXPECT_EQ(wire.Receive(bytes, sizeof(bytes)), 2);
  EXPECT_FALSE(wire.HasPending());
  EXPECT_LT(wire.Receive(bytes, sizeof(bytes)), 0);
  EXPECT_GT(wire.received(), 5 + 16);
  EXPECT_EQ(wire.Send(std::string(100, 'x')), 100);
  char answer[200];
  EXPECT_EQ(SSL_read(served.client.get(), answer, sizeof(answer)), 100);
  wire.ShutDown();
  EXPECT_EQ(SSL_read(served.client.get(), answer, sizeof(answer)), 0);
  EXPECT_EQ(SSL_get_error(served.client.get(), 0), SSL_ERROR_ZERO_RETURN);
}

TEST_F(ArrivalsTest, AReaderThatStopsLosesNothingOverTls) {
  const Served served = Serve();
  Wire& wire = *served.wire;
  std::string sent;
  for (int i = 0; i < 4'000'000; ++i) sent.push_back(static_cast<char>(i % 251));
  size_t at = 0;
  std::string got;
  std::vector<char> bytes(100'000);
  while (got.size() < sent.size()) {
    const ssize_t taken = wire.Send(absl::string_view(sent).substr(at));
    ASSERT_GE(taken, 0);
    at += static_cast<size_t>(taken);
    const int size = SSL_read(served.client.get(), bytes.data(), static_cast<int>(bytes.size()));
    if (size > 0) got.append(bytes.data(), static_cast<size_t>(size));
  }
  EXPECT_EQ(got, sent);
}

TEST_F(ArrivalsTest, StrangersAreNotServed) {
  Open();
  for (const bool offers_http2 : {false, true}) {
    const UniqueFd socket = Connect("a", 0, material_.context.get());
    const SslPtr client = Client(socket, offers_http2, !offers_http2);
    Shake(client);
    EXPECT_EQ(arrivals_->size(), 0);
  }
  EXPECT_TRUE(arrived_.empty());
}

TEST_F(ArrivalsTest, TlsMessagesAfterTheHandshakeAreCounted) {
  const Served served = Serve();
  Wire& wire = *served.wire;
  char byte = 0;
  const auto renew = [&] {
    EXPECT_EQ(SSL_key_update(served.client.get(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    SSL_do_handshake(served.client.get());
    return wire.Receive(&byte, 1);
  };
  for (int i = 0; i < Wire::kMaxTlsMessages; ++i) ASSERT_LT(renew(), 0);
  EXPECT_EQ(renew(), 0) << "it is cut";
  EXPECT_LT(wire.Send("x"), 0);
}

}  // namespace
}  // namespace vmeventd
