// Hostile peers: the daemon keeps following VMs and serving everybody else. What floods it is in
// tools/attacks.py.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/support/fail.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/own_channel.h"
#include "tests/support/programs.h"
#include "tests/support/unix_socket.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

// The start of an HTTP/2 connection: preface and empty SETTINGS.
const std::string kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x4\0\0\0\0\0", 33);

// One frame.
std::string Frame(int type, int flags, uint32_t stream, const std::string& payload) {
  const auto byte = [](uint32_t value, int shift) { return static_cast<char>(value >> shift); };
  const auto size = static_cast<uint32_t>(payload.size());
  return std::string{
             byte(size, 16),           byte(size, 8),    byte(size, 0),    static_cast<char>(type),
             static_cast<char>(flags), byte(stream, 24), byte(stream, 16), byte(stream, 8),
             byte(stream, 0)} +
         payload;
}

// The header block of a call, with literal fields that are not indexed.
std::string CallHeaders(const std::string& path) {
  std::string out;
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{":method", "POST"},
                                                        {":scheme", "http"},
                                                        {":path", path},
                                                        {":authority", "localhost"},
                                                        {"content-type", "application/grpc"},
                                                        {"te", "trailers"}}) {
    absl::StrAppend(&out, std::string(1, '\0'), std::string(1, static_cast<char>(name.size())),
                    name, std::string(1, static_cast<char>(value.size())), value);
  }
  return out;
}

// The frames of a whole call, whose request is an empty message.
std::string Call(const std::string& path, uint32_t stream = 1) {
  return Frame(1, 4, stream, CallHeaders(path)) + Frame(0, 1, stream, std::string(5, '\0'));
}

class HostileNetworkTest : public E2eTest {
 protected:
  void SetUp() override {
    StartDaemonAndStream(Options({"--listen", "127.0.0.1:0"}));
    const std::string address = LoopbackAddress();
    port_ = static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
  }

  // Connects from an address of the host; another address counts as another peer.
  UniqueFd Connect(const char* from = "127.0.0.1") const {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd.valid()) FailErrno("socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    inet_pton(AF_INET, from, &address.sin_addr);
    if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      FailErrno("bind");
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port_);
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      FailErrno("connect");
    }
    return fd;
  }

  // Sends, unless the daemon closed the connection because of earlier bytes.
  static bool Send(const UniqueFd& fd, const std::string& bytes) {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t size = send(fd.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (size < 0) return false;
      sent += static_cast<size_t>(size);
    }
    return true;
  }

  static bool Closed(const UniqueFd& fd) {
    char bytes[4096];
    for (;;) {
      const ssize_t size = recv(fd.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
      if (size == 0 || (size < 0 && errno != EAGAIN)) return true;
      if (size < 0) return false;
    }
  }

  // The daemon follows a VM to its end, publishes it on the stream, and answers a new TCP client.
  void ExpectServes(const std::string& vm_name) {
    FakeQemu qemu(TestProgramPath("fake_qemu"));
    qemu.AddMonitor(watch_dir() + "/" + vm_name + ".kvmd");
    stream().Wait(vm_name, v1::EVENT_TYPE_STARTED);
    qemu.Kill(SIGKILL);
    qemu.Reap();
    stream().Wait(vm_name, v1::EVENT_TYPE_STOPPED);
  }
  bool AnswersTcp() const {
    const auto channel = ChannelOfItsOwn(absl::StrCat("127.0.0.1:", port_));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoSeconds(Patience()));
    v1::GetServerInfoResponse info;
    return v1::VmEventService::NewStub(channel)->GetServerInfo(&context, {}, &info).ok();
  }

  // The status of a call from this address. Not of a health check, which has a share of its own.
  int AnswerTo(const char* from) const {
    const UniqueFd connection = Connect(from);
    const timeval patience = absl::ToTimeval(Patience());
    setsockopt(connection.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    Send(connection, kPreface + Call("/vmeventd.v1.VmEventService/ListVms"));
    // The trailers are literal, and contain the status as text.
    const std::string name = "grpc-status";
    std::string answer;
    char bytes[4096];
    for (;;) {
      const size_t found = answer.find(name);
      if (found != std::string::npos && answer.size() > found + name.size() + 1) {
        const size_t begin = found + name.size() + 1;  // after the length of the value
        return std::atoi(answer.substr(begin, static_cast<size_t>(answer[begin - 1])).c_str());
      }
      const ssize_t size = recv(connection.get(), bytes, sizeof(bytes), 0);
      if (size <= 0) return -1;
      answer.append(bytes, static_cast<size_t>(size));
    }
  }

  uint16_t port_ = 0;
};

class HostileNetworkMemoryTest : public HostileNetworkTest {};

TEST_F(HostileNetworkTest, TenThousandIdleConnectionsHarmNoOtherClient) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlim_t wanted = 10'500;
  if (limit.rlim_max < wanted) GTEST_SKIP() << "at most " << limit.rlim_max << " descriptors here";
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  const size_t before = CountDescriptors();

  std::vector<UniqueFd> crowd;
  crowd.reserve(10'000);
  for (int i = 0; i < 10'000; ++i) crowd.push_back(Connect("127.0.0.9"));
  constexpr size_t kHalf = 2'000;  // of --max-connections
  WaitUntil("those beyond one peer's limit are closed", [&] {
    return static_cast<size_t>(std::count_if(crowd.begin(), crowd.end(), Closed)) >=
           crowd.size() - kHalf;
  });
  constexpr size_t kPerConnection = 3;  // the client's, and the relay's pair
  EXPECT_LE(CountDescriptors(), before + kPerConnection * kHalf + 20);
  ExpectServes("vm1");
  EXPECT_TRUE(AnswersTcp()) << "another peer is refused";
  crowd.clear();
  WaitUntil("the descriptors are free again", [&] { return CountDescriptors() <= before + 20; });
  EXPECT_TRUE(AnswersTcp());
}

TEST_F(HostileNetworkTest, GarbageHarmsNoOtherClient) {
  std::mt19937 random(20'181);
  std::vector<std::string> inputs = {
      "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "\r\n\r\n\r\n",
      std::string(100'000, '\0'),
      kPreface + std::string(1'000, '\xff'),
      kPreface + Frame(1, 4, 1, std::string(16'384, '\xff')),  // headers: no HPACK
      kPreface + Frame(1, 4, 0, CallHeaders("/x")),            // on stream 0
      kPreface + Frame(1, 4, 2, CallHeaders("/x")),            // on an even one
      kPreface + Frame(9, 4, 1, CallHeaders("/x")),            // nothing to continue
      kPreface + Frame(0, 1, 77, "data of no stream"),
      kPreface + Frame(8, 0, 0, std::string(4, '\0')),                     // no window
      kPreface + Frame(4, 0, 0, std::string("\0\x4\xff\xff\xff\xff", 6)),  // a window too large
      kPreface + Frame(1, 5, 1, CallHeaders("/no/such/method")),
      // Announces a message of 4 GiB and sends none.
      kPreface + Frame(1, 4, 1, CallHeaders("/vmeventd.v1.VmEventService/WatchEvents")) +
          Frame(0, 0, 1, std::string("\0\xff\xff\xff\xff", 5)),
      // Compressed, without negotiation.
      kPreface + Frame(1, 4, 1, CallHeaders("/vmeventd.v1.VmEventService/GetVm")) +
          Frame(0, 1, 1, std::string("\x1\0\0\0\x2zz", 7)),
      // An endless header list.
      kPreface + Frame(1, 0, 1, CallHeaders("/x")) + Frame(9, 0, 1, std::string(16'000, '\0')) +
          Frame(9, 0, 1, std::string(16'000, '\0')),
  };
  for (int i = 0; i < 50; ++i) {
    std::string bytes(1 + random() % 3'000, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    inputs.push_back(i % 2 == 0 ? bytes : kPreface + bytes);
  }
  std::vector<UniqueFd> connections;
  for (const std::string& input : inputs) {
    connections.push_back(Connect());
    Send(connections.back(), input);
    const int unix_socket = ConnectUnix(Options().socket);
    if (unix_socket < 0) Fail("the daemon's socket is gone");
    connections.emplace_back(unix_socket);
    Send(connections.back(), input);
  }
  ExpectServes("vm1");
  EXPECT_TRUE(AnswersTcp());
  connections.clear();
  EXPECT_FALSE(daemon().has_exited());
}

// Uses many connections of one peer, so that no limit of a connection applies.
TEST_F(HostileNetworkMemoryTest, OpenCallsTakeBoundedMemory) {
  // Calls that gRPC has not got through yet take 20 KB each, more of them on a busy machine; all
  // that are begun here would take 1.5 GB.
  const size_t most = daemon().ResidentMiB() + 256;
  std::vector<UniqueFd> connections;
  const auto watch = [&](uint32_t calls) {
    connections.push_back(Connect("127.0.0.9"));
    std::string bytes = kPreface;
    for (uint32_t stream = 1; stream < 2 * calls; stream += 2) {
      bytes += Frame(1, 4, stream, CallHeaders("/grpc.health.v1.Health/Check"));
    }
    Send(connections.back(), bytes);
  };
  // Each connection is refused fewer calls than it would be cut for. One is not enough: the
  // question may have had a call itself, and the daemon ends a connection that answers no PING for
  // 40 s.
  const auto use_up = [&] {
    WaitUntil("the peer has no call left", [&] {
      if (AnswerTo("127.0.0.9") == grpc::RESOURCE_EXHAUSTED) return true;
      watch(90);
      return false;
    });
  };
  use_up();
  for (int i = 0; i < 37; ++i) {
    watch(2'000);
    EXPECT_LE(daemon().ResidentMiB(), most);
  }
  ExpectServes("vm1");
  EXPECT_TRUE(AnswersTcp());
  EXPECT_LE(daemon().ResidentMiB(), most);
  use_up();
  EXPECT_LE(daemon().ResidentMiB(), most);
  connections.clear();
  WaitUntil("the peer may call again", [&] { return AnswerTo("127.0.0.9") == grpc::OK; });
}

// Calls whose answers are large, or refusals, and none of which is read.
TEST_F(HostileNetworkMemoryTest, UnreadResponsesTakeBoundedMemory) {
  const size_t before = daemon().ResidentMiB();
  // No window: not even an answer's first byte may be sent.
  std::string calls = kPreface + Frame(4, 0, 0, std::string("\0\4\0\0\0\0", 6));
  for (uint32_t stream = 1; stream < 4'000; stream += 2) {
    const char* const method =
        stream % 4 == 1 ? "/vmeventd.v1.VmEventService/GetServerInfo" : "/no.such.Service/Method";
    calls += Call(method, stream);
  }
  std::vector<UniqueFd> deaf;
  for (int i = 0; i < 60; ++i) {
    deaf.push_back(Connect("127.0.0.9"));
    const int small = 4'096;
    setsockopt(deaf.back().get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    fcntl(deaf.back().get(), F_SETFL, O_NONBLOCK);
    Send(deaf.back(), calls);
  }
  ExpectServes("vm1");
  EXPECT_TRUE(AnswersTcp());
  EXPECT_LE(daemon().ResidentMiB(), before + 64);
}

// Headers that are decompressed to as much as gRPC permits, on all streams that a peer may open.
TEST_F(HostileNetworkMemoryTest, StreamsWithLargeHeadersTakeBoundedMemory) {
  constexpr uint32_t kStreams = 1'000;  // half of --max-streams
  const size_t before = daemon().ResidentMiB();
  std::string headers = CallHeaders("/vmeventd.v1.VmEventService/WatchEvents");
  // A literal of 7,000 bytes, not indexed: 127 + 6,873 (RFC 7541, 5.1).
  headers += std::string("\0\1a\x7f\xd9\x35", 6) + std::string(7'000, 'x');
  const UniqueFd connection = Connect("127.0.0.9");
  ASSERT_TRUE(Send(connection, kPreface));
  for (uint32_t stream = 1; stream < 2 * kStreams; stream += 2) {
    ASSERT_TRUE(
        Send(connection, Frame(1, 4, stream, headers) + Frame(0, 1, stream, std::string(5, '\0'))));
    ASSERT_FALSE(Closed(connection));
  }
  WaitUntil("all are open",
            [&] { return daemon().GetServerInfo().streams() == kStreams + 1; });  // and the test's
  EXPECT_LE(daemon().ResidentMiB(), before + 64);
}

}  // namespace
}  // namespace vmeventd::e2e
