#include "server/transport/arrivals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/config/tls_material.h"
#include "server/transport/http2_frame.h"
#include "server/transport/wire.h"
#include "tests/support/files.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_certificates.h"
#include "tests/support/watched_by_epoll.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ArrivalsTest : public ::testing::Test {
 protected:
  void SetUp() override { signal(SIGPIPE, SIG_IGN); }
  void Open(ArrivalLimits limits = {}) {
    arrivals_ = std::make_unique<Arrivals>(
        2, limits, loop_.get(), &refusals_,
        [this](Arrivals::Arrived arrived) { arrived_.push_back(std::move(arrived)); },
        [this](size_t listener, const std::string& peer, const std::string& why) {
          refused_.push_back(absl::StrCat(listener, " ", peer, ": ", why));
        });
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
    return Client(fd, offers_http2, with_certificate ? own_ : CertificateFiles{});
  }
  SslPtr Client(const UniqueFd& fd, bool offers_http2, const CertificateFiles& own) {
    const SslContextPtr context(SSL_CTX_new(TLS_client_method()));
    if (!own.certificate.empty()) {
      SSL_CTX_use_certificate_chain_file(context.get(), own.certificate.c_str());
      SSL_CTX_use_PrivateKey_file(context.get(), own.key.c_str(), SSL_FILETYPE_PEM);
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
  // Returns whether a client with this certificate is served where `client_ca` holds this text.
  bool Serves(const CertificateFiles& own, const std::string& client_ca) {
    const std::string path = directory_ / "client-ca.pem";
    std::ofstream(path, std::ios::binary) << client_ca;
    const absl::StatusOr<TlsMaterial> material =
        LoadTlsMaterial({server_.certificate, server_.key, path});
    EXPECT_TRUE(material.ok()) << material.status();
    arrived_.clear();
    refused_.clear();
    Open();
    const UniqueFd socket = Connect("a", 0, material->context.get());
    Shake(Client(socket, true, own));
    return !arrived_.empty();
  }
  // Runs both sides until nothing more happens.
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
  ManualClock clock_;
  RefusalCounters refusals_;
  SocketCloser closer_;
  const std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::vector<Arrivals::Arrived> arrived_;
  std::vector<std::string> refused_;  // "LISTENER PEER: REASON"
  std::unique_ptr<Arrivals> arrivals_;
};

TEST_F(ArrivalsTest, ThePeerWithTheMostHandshakesLosesItsOldest) {
  Open({.at_once = 4});
  const UniqueFd honest = Connect("honest");
  std::vector<UniqueFd> flood;
  flood.reserve(100);
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

TEST_F(ArrivalsTest, AmongManyPeersWithOneHandshakeTheOldestIsClosed) {
  Open({.at_once = 4});
  std::vector<UniqueFd> flood;
  flood.reserve(54);
  for (int i = 0; i < 50; ++i) flood.push_back(Connect(absl::StrCat("before ", i)));
  const UniqueFd honest = Connect("honest");
  for (int i = 0; i < 3; ++i) flood.push_back(Connect(absl::StrCat("after ", i)));
  EXPECT_FALSE(Closed(honest));
  flood.push_back(Connect("last"));
  EXPECT_TRUE(Closed(honest));
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

TEST_F(ArrivalsTest, AHandshakeHasALimitedTime) {
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

TEST_F(ArrivalsTest, EachRefusedHandshakeIsCountedAndHasAReason) {
  Open();
  const auto others = MakeCertificateAuthority(directory_.path(), "others");
  CertificateOptions expired = ClientCertificate("spiffe://site/reader");
  expired.not_before = absl::Now() - absl::Hours(48);
  expired.not_after = absl::Now() - absl::Hours(1);
  const CertificateFiles of_others = others->Issue(ClientCertificate("spiffe://site/reader"));
  const auto shake = [this](const std::string& peer, bool offers_http2,
                            const CertificateFiles& own) {
    const UniqueFd socket = Connect(peer, 0, material_.context.get());
    Shake(Client(socket, offers_http2, own));
  };
  shake("no certificate", true, {});
  shake("another authority's", true, of_others);
  shake("expired", true, authority_->Issue(expired));
  shake("a server's", true, server_);
  shake("no HTTP/2", false, own_);
  for (const auto& [peer, bytes] :
       {std::pair<std::string, absl::string_view>{"plain", kHttp2Preface},
        {"a browser", "GET / HTTP/1.1\r\n\r\n"}}) {
    const UniqueFd socket = Connect(peer, 0, material_.context.get());
    EXPECT_GT(send(socket.get(), bytes.data(), bytes.size(), 0), 0);
    Turn();
  }
  {
    const UniqueFd socket = Connect("left", 0, material_.context.get());
    SSL_do_handshake(Client(socket).get());
    Turn();
  }
  Turn();
  EXPECT_THAT(
      refused_,
      ElementsAre(
          "0 no certificate: it shows no certificate, and --tls-client-ca requires one",
          "0 another authority's: its certificate is not accepted: unable to get local issuer "
          "certificate",
          "0 expired: its certificate is not accepted: certificate has expired",
          HasSubstr("0 a server's: its certificate is not accepted: un"),  // OpenSSL 3.0 or 3.5
          "0 no HTTP/2: it does not offer HTTP/2 (ALPN h2)", "0 plain: it does not speak TLS",
          "0 a browser: it does not speak TLS",
          "0 left: it closed the connection within the TLS handshake"));
  EXPECT_EQ(refusals_.value(Refusal::kTls), 8);
  EXPECT_EQ(arrivals_->size(), 0);
}

TEST_F(ArrivalsTest, AClientThatRefusesTheServersCertificateIsLogged) {
  Open();
  const UniqueFd socket = Connect("a", 0, material_.context.get());
  const SslPtr client = Client(socket);
  SSL_set_verify(client.get(), SSL_VERIFY_PEER, nullptr);  // and trusts no authority
  Shake(client);
  EXPECT_THAT(refused_, ElementsAre("0 a: it does not accept this server's certificate: tlsv1 "
                                    "alert unknown ca"));
}

TEST_F(ArrivalsTest, OtherProtocolsOnAPlainConnectionAreRefusedWithTheReason) {
  Open();
  for (const absl::string_view bytes :
       {absl::string_view("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11),
        absl::string_view("GET / HTTP/1.1\r\n\r\n")}) {
    const UniqueFd socket = Connect("a", 1);
    EXPECT_GT(send(socket.get(), bytes.data(), bytes.size(), 0), 0);
    Turn();
  }
  EXPECT_THAT(refused_, ElementsAre("1 a: it speaks TLS, which this address does not have",
                                    "1 a: it does not begin with the preface of HTTP/2"));
  EXPECT_EQ(refusals_.value(Refusal::kFrames), 2);
}

// Load balancers do this to see whether the port is open.
TEST_F(ArrivalsTest, AProbeThatSendsNothingIsNoRefusal) {
  Open();
  for (SSL_CTX* const context : {material_.context.get(), static_cast<SSL_CTX*>(nullptr)}) {
    Connect("a", 0, context);
    Turn();
  }
  EXPECT_EQ(arrivals_->size(), 0);
  EXPECT_THAT(refused_, testing::IsEmpty());
  EXPECT_EQ(refusals_.value(Refusal::kTls) + refusals_.value(Refusal::kFrames), 0);
}

TEST_F(ArrivalsTest, TheAuthoritiesMayBeGivenInAnyOfTheUsualForms) {
  const auto root = MakeCertificateAuthority(directory_.path(), "root");
  const auto issuing = root->IssueAuthority("issuing");
  const auto others = MakeCertificateAuthority(directory_.path(), "others");
  const CertificateFiles leaf = issuing->Issue(ClientCertificate("spiffe://site/reader"));
  CertificateFiles with_chain = leaf;
  with_chain.certificate = directory_ / "chain.pem";
  std::ofstream(with_chain.certificate)
      << e2e::ReadFile(leaf.certificate) << e2e::ReadFile(issuing->certificate());
  const std::string root_pem = e2e::ReadFile(root->certificate());
  const std::string issuing_pem = e2e::ReadFile(issuing->certificate());
  const std::string others_pem = e2e::ReadFile(others->certificate());
  const CertificateFiles of_root = root->Issue(ClientCertificate("spiffe://site/reader"));

  EXPECT_TRUE(Serves(leaf, issuing_pem)) << "the issuing authority alone";
  EXPECT_TRUE(Serves(with_chain, issuing_pem));
  EXPECT_TRUE(Serves(with_chain, root_pem)) << "the root, and the client sends what is between";
  EXPECT_TRUE(Serves(leaf, root_pem + issuing_pem)) << "a bundle";
  EXPECT_TRUE(Serves(leaf, issuing_pem + root_pem)) << "in the other order";
  EXPECT_TRUE(Serves(leaf, others_pem + issuing_pem)) << "several authorities";
  EXPECT_TRUE(Serves(of_root, others_pem + root_pem + issuing_pem));
  EXPECT_TRUE(Serves(leaf, absl::StrReplaceAll(issuing_pem, {{"\n", "\r\n"}})));
  EXPECT_TRUE(Serves(leaf, "\xef\xbb\xbf" + issuing_pem)) << "a byte order mark";
  EXPECT_TRUE(Serves(leaf, "subject=CN = issuing\n\n" + issuing_pem + "\n\n")) << "with text";
  EXPECT_TRUE(Serves(leaf, issuing_pem.substr(0, issuing_pem.size() - 1))) << "no last newline";

  EXPECT_FALSE(Serves(leaf, root_pem)) << "what is between is nowhere";
  EXPECT_FALSE(Serves(of_root, issuing_pem)) << "of the root, which is not named";
  EXPECT_FALSE(Serves(leaf, others_pem));
  EXPECT_FALSE(Serves(with_chain, others_pem));
  EXPECT_FALSE(Serves(issuing->Issue(ServerCertificate()), issuing_pem)) << "a server's";
  // A certificate that is listed itself is accepted, and issues none.
  EXPECT_TRUE(Serves(leaf, e2e::ReadFile(leaf.certificate)));
  EXPECT_FALSE(Serves(of_root, e2e::ReadFile(leaf.certificate)));
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
