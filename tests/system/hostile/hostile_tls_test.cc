// Floods within TLS from a client with a valid certificate: the daemon survives in bounded memory
// and serves others.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/openssl_ptr.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/test_certificates.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"
#include "tests/system/hostile/http2_frames.h"

namespace vmeventd::e2e {
namespace {

// Sends what `next` returns, repeatedly, over a TLS connection from 127.0.0.9, and reads the
// answers. Reconnects when it is closed. Runs on one thread until destroyed.
class TlsFlood {
 public:
  // `next` receives true for the first bytes of a connection.
  TlsFlood(uint16_t port, const std::string& authority, const CertificateFiles& own,
           std::function<std::string(bool)> next)
      : port_(port), next_(std::move(next)), context_(SSL_CTX_new(TLS_client_method())) {
    if (SSL_CTX_use_certificate_chain_file(context_.get(), own.certificate.c_str()) != 1 ||
        SSL_CTX_use_PrivateKey_file(context_.get(), own.key.c_str(), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_load_verify_locations(context_.get(), authority.c_str(), nullptr) != 1) {
      Fail("the flood cannot use its certificate");
    }
    const unsigned char http2[] = {2, 'h', '2'};
    SSL_CTX_set_alpn_protos(context_.get(), http2, sizeof(http2));
    SSL_CTX_set_mode(context_.get(),
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    thread_ = std::thread([this] {
      while (!stop_) SendUntilCut();
    });
  }
  ~TlsFlood() {
    stop_ = true;
    thread_.join();
  }
  TlsFlood(const TlsFlood&) = delete;
  TlsFlood& operator=(const TlsFlood&) = delete;

  int connections() const { return connections_; }
  uint64_t sent() const { return sent_; }

 private:
  UniqueFd Connect() const {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    inet_pton(AF_INET, "127.0.0.9", &address.sin_addr);
    bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port_);
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      return UniqueFd();
    }
    return fd;
  }

  void SendUntilCut() {
    const UniqueFd fd = Connect();
    if (!fd.valid()) return;
    const timeval patience = absl::ToTimeval(kPatience);
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    const SslPtr tls(SSL_new(context_.get()));
    SSL_set_fd(tls.get(), fd.get());
    if (SSL_connect(tls.get()) != 1) return;
    ++connections_;
    fcntl(fd.get(), F_SETFL, O_NONBLOCK);
    std::string bytes = next_(true);
    while (!stop_) {
      char answer[65536];
      const int read = SSL_read(tls.get(), answer, sizeof(answer));
      if (read <= 0 && SSL_get_error(tls.get(), read) != SSL_ERROR_WANT_READ) return;
      const int written = SSL_write(tls.get(), bytes.data(), static_cast<int>(bytes.size()));
      if (written > 0) {
        sent_ += static_cast<uint64_t>(written);
        bytes.erase(0, static_cast<size_t>(written));
        if (bytes.empty()) bytes = next_(false);
      } else if (const int error = SSL_get_error(tls.get(), written);
                 error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) {
        pollfd waiting = {.fd = fd.get(), .events = POLLIN | POLLOUT};
        poll(&waiting, 1, 100);
      } else {
        return;
      }
    }
  }

  const uint16_t port_;
  const std::function<std::string(bool)> next_;
  const SslContextPtr context_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> connections_ = 0;
  std::atomic<uint64_t> sent_ = 0;
  std::thread thread_;
};

class HostileTlsTest : public E2eTest {
 protected:
  void SetUp() override {
    DaemonOptions options = Options();
    options.arguments.insert(
        options.arguments.end(),
        {"--listen", "127.0.0.1:0", "--tls-cert", server_.certificate, "--tls-key", server_.key,
         "--tls-client-ca", authority_->certificate()});
    StartDaemon(options);
    OpenStream();
    const std::string address = LoopbackAddress();
    port_ = static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
  }

  // Another client, as another peer, with its own connection.
  std::unique_ptr<v1::VmEventService::Stub> NewClient() const {
    const CertificateFiles own = authority_->Issue(ClientCertificate("spiffe://site/other"));
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = ReadFile(authority_->certificate());
    options.pem_private_key = ReadFile(own.key);
    options.pem_cert_chain = ReadFile(own.certificate);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return v1::VmEventService::NewStub(grpc::CreateCustomChannel(
        absl::StrCat("127.0.0.1:", port_), grpc::SslCredentials(options), arguments));
  }
  static bool Answers(v1::VmEventService::Stub* stub) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoSeconds(kPatience));
    v1::GetServerInfoResponse info;
    return stub->GetServerInfo(&context, {}, &info).ok();
  }

  // Expects that other clients are answered during the floods, in bounded memory. The latency of
  // their calls is only printed, because it says as much about the machine as about the daemon.
  void ExpectHoldsOut(int floods, const std::function<std::string(bool)>& next) {
    const auto other = NewClient();
    ASSERT_TRUE(Answers(other.get()));
    const size_t before = daemon().ResidentMiB();
    size_t most = before;
    std::vector<std::chrono::microseconds> times;
    std::vector<std::unique_ptr<TlsFlood>> running;
    const CertificateFiles own = authority_->Issue(ClientCertificate("spiffe://site/hostile"));
    for (int i = 0; i < floods; ++i) {
      running.push_back(std::make_unique<TlsFlood>(port_, authority_->certificate(), own, next));
    }
    using Steady = std::chrono::steady_clock;
    const Steady::time_point end = Steady::now() + FloodTime();
    while (Steady::now() < end) {
      const Steady::time_point begin = Steady::now();
      ASSERT_TRUE(Answers(other.get()));
      times.push_back(std::chrono::duration_cast<std::chrono::microseconds>(Steady::now() - begin));
      most = std::max(most, daemon().ResidentMiB());
      ASSERT_FALSE(daemon().has_exited());
    }
    FakeQemu qemu(VMEVENTD_FAKE_QEMU);
    qemu.AddMonitor(watch_dir() + "/vm1.kvmd");
    stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
    qemu.Kill(SIGKILL);
    qemu.Reap();
    stream().Wait("vm1", v1::EVENT_TYPE_STOPPED);
    EXPECT_TRUE(Answers(NewClient().get())) << "a new connection";
    EXPECT_LE(most, before + 64);
    uint64_t sent = 0;
    int connections = 0;
    for (const auto& flood : running) {
      sent += flood->sent();
      connections += flood->connections();
    }
    EXPECT_GE(connections, floods) << "the flood never connected";
    std::sort(times.begin(), times.end());
    const auto p99 = times[times.size() * 99 / 100].count();
    RecordProperty("call_p99_us", static_cast<int>(p99));
    RecordProperty("call_max_us", static_cast<int>(times.back().count()));
    RecordProperty("memory_growth_mib", static_cast<int>(most - before));
    printf(
        "%zu calls, p50 %ld us, p99 %ld us, max %ld us; memory +%zu MiB; %d connections sent %lu "
        "KiB\n",
        times.size(), times[times.size() / 2].count(), p99, times.back().count(), most - before,
        connections, sent >> 10);
  }

  const std::unique_ptr<CertificateAuthority> authority_ = MakeCertificateAuthority(dir().path());
  const CertificateFiles server_ = authority_->Issue(ServerCertificate());
  uint16_t port_ = 0;
};

TEST_F(HostileTlsTest, EndlessFramesOfUnknownType) {
  const std::string frames = ManyFrames(66, "");
  ExpectHoldsOut(4, [frames](bool first) { return first ? kPreface + frames : frames; });
}

TEST_F(HostileTlsTest, EndlessPriorityFrames) {
  const std::string frames = ManyFrames(2, std::string(5, '\0'));
  ExpectHoldsOut(4, [frames](bool first) { return first ? kPreface + frames : frames; });
}

// CVE-2023-44487. A connection that resets too many calls is closed; each flood continues with a
// new one.
TEST_F(HostileTlsTest, CallsThatAreResetAtOnce) {
  std::string calls = kPreface;
  for (uint32_t stream = 1; stream < 20'000; stream += 2) {
    calls += Frame(1, 4, stream, CallHeaders("/vmeventd.v1.VmEventService/WatchEvents")) +
             Frame(0, 1, stream, std::string("\0\0\0\0\0", 5)) +
             Frame(3, 0, stream, std::string("\0\0\0\x8", 4));
  }
  const std::string rest = ManyFrames(66, "");
  ExpectHoldsOut(4, [calls, rest](bool first) { return first ? calls : rest; });
}

// The beginning of a record, and then silence: the peer's oldest are closed, and nobody else's.
TEST_F(HostileTlsTest, HandshakesThatStopHalfway) {
  const std::string half("\x16\x03\x01\x02\x00\x01\x00\x01", 8);
  const size_t before = daemon().ResidentMiB();
  std::vector<UniqueFd> halves;
  for (int i = 0; i < 700; ++i) {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    inet_pton(AF_INET, "127.0.0.9", &address.sin_addr);
    ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port_);
    ASSERT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(send(fd.get(), half.data(), half.size(), MSG_NOSIGNAL), half.size());
    halves.push_back(std::move(fd));
  }
  char byte = 0;
  for (int i = 0; i < 200; ++i) {  // beyond the 500 that may be unfinished
    EXPECT_LE(recv(halves[i].get(), &byte, 1, 0), 0) << i;
  }
  EXPECT_TRUE(Answers(NewClient().get()));
  EXPECT_LE(daemon().ResidentMiB(), before + 64);
}

}  // namespace
}  // namespace vmeventd::e2e
