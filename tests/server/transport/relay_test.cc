#include "server/transport/relay.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/transport/http2_frame.h"
#include "tests/support/manual_clock.h"
#include "tests/support/watched_by_epoll.h"

namespace vmeventd {
namespace {

// A relay whose clients and server are the test.
class RelayTest : public ::testing::Test {
 protected:
  // Both ends of a relayed connection.
  struct Connected {
    UniqueFd client;
    UniqueFd server;
    Relay::Id id;
    std::string name;
  };

  void Open(RelayLimits limits = {}) {
    relay_ = std::make_unique<Relay>(limits, loop_.get(), &refusals_,
                                     [this](Relay::Id id) { ended_.push_back(id); });
  }

  // Connects; both ends have sent what HTTP/2 begins with.
  Connected Connect(const std::string& peer = "user 1") {
    Connected out = Add(peer);
    SendBytes(out.server, Frame(FrameType::kSettings, 0, ""));
    SendBytes(out.client, Start());
    Turn();
    EXPECT_EQ(ReceiveBytes(out.client).size(), FrameHeader::kBytes);
    EXPECT_EQ(ReceiveBytes(out.server), Start() + Acknowledgement());
    return out;
  }
  Connected Add(const std::string& peer = "user 1") {
    int pair[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    absl::StatusOr<Relay::Added> added =
        relay_->Add(ReceivingSocket(UniqueFd(pair[0]), &closer_), nullptr, peer);
    EXPECT_TRUE(added.ok()) << added.status();
    sent_[pair[1]] = 0;
    sent_[added->server.get()] = 0;
    return {UniqueFd(pair[1]), std::move(added->server), added->id, added->name};
  }

  // Runs until nothing is left to do now.
  void Turn() {
    for (int i = 0; i < 1'000; ++i) loop_->RunOnce(absl::ZeroDuration());
  }

  static std::string Start() {
    return absl::StrCat(kHttp2Preface, Frame(FrameType::kSettings, 0, ""));
  }
  static std::string Acknowledgement() { return Frame(FrameType::kSettings, 0, "", 1); }
  // The bytes [begin, begin + size) of an endless sequence of DATA frames.
  static std::string Bytes(size_t begin, size_t size) {
    const std::string data = Frame(FrameType::kData, 1, std::string(991, 'x'));
    std::string out;
    for (size_t skip = begin % data.size(); out.size() < size; skip = 0) out += data.substr(skip);
    return out.substr(0, size);
  }
  static std::string Frame(FrameType type, uint32_t stream, const std::string& payload,
                           uint8_t flags = 0) {
    return EncodeFrame({.type = type, .flags = flags, .length = 0, .stream = stream}, payload);
  }

  // Sends as many of the next `size` bytes of frames as are accepted now.
  size_t Send(const UniqueFd& fd, size_t size) {
    size_t& at = sent_[fd.get()];
    const size_t sent = SendBytes(fd, Bytes(at, size));
    at += sent;
    return sent;
  }
  static size_t SendBytes(const UniqueFd& fd, const std::string& bytes) {
    const ssize_t sent = send(fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? 0 : static_cast<size_t>(sent);
  }
  static std::string ReceiveBytes(const UniqueFd& fd) {
    std::string out(1 << 16, 0);
    const ssize_t size = recv(fd.get(), out.data(), out.size(), MSG_DONTWAIT);
    out.resize(size < 0 ? 0 : static_cast<size_t>(size));
    return out;
  }
  // Sends until the sender would block.
  size_t SendAll(const UniqueFd& fd) {
    size_t sum = 0;
    for (size_t sent = 1; sent > 0; sum += sent) {
      sent = Send(fd, 1 << 16);
      Turn();
    }
    return sum;
  }
  // Reads what has arrived; nullopt: the peer has closed.
  static std::optional<size_t> Receive(const UniqueFd& fd) {
    char bytes[4096];
    size_t sum = 0;
    for (;;) {
      const ssize_t size = recv(fd.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
      if (size < 0) return sum;
      if (size == 0) return sum == 0 ? std::nullopt : std::optional(sum);
      sum += static_cast<size_t>(size);
    }
  }
  // Reads until nothing more arrives now.
  size_t ReceiveAll(const UniqueFd& fd) {
    size_t sum = 0;
    for (size_t got = 1; got > 0; sum += got) {
      Turn();
      got = Receive(fd).value_or(0);
    }
    return sum;
  }

  ManualClock clock_;
  RefusalCounters refusals_;
  std::vector<Relay::Id> ended_;
  std::map<int, size_t> sent_;  // bytes sent to each descriptor
  SocketCloser closer_;
  const std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::unique_ptr<Relay> relay_;
};

TEST_F(RelayTest, EachConnectionHasAUniqueName) {
  Open();
  const Connected one = Add();
  const Connected other = Add();
  EXPECT_NE(one.name, other.name);
  EXPECT_EQ(one.name.size(), std::string("unix-abstract:").size() + 32) << "128 random bits";
}

TEST_F(RelayTest, AClientThatSendsTooMuchWaits) {
  constexpr size_t kSecond = 100'000;
  constexpr size_t kPiece = 4 << 10;
  Open({.bytes = {2 * kSecond, 100'000}, .always = {1, 1}});
  const Connected flood = Connect();
  size_t came = 0;
  const auto pass = [&] {
    for (size_t moved = 1; moved > 0; came += moved) {
      Send(flood.client, 1 << 20);
      moved = ReceiveAll(flood.server);
    }
  };
  pass();
  EXPECT_LE(came, 50'000 + kPiece);
  EXPECT_GE(came, 50'000);
  EXPECT_GE(refusals_.value(Refusal::kInboundRate), 1);
  for (int i = 0; i < 100; ++i) {
    clock_.Advance(absl::Milliseconds(100));
    pass();
  }
  EXPECT_LE(came, 50'000 + 10 * kSecond + kPiece);
  EXPECT_GE(came, 10 * kSecond);
  EXPECT_TRUE(ended_.empty()) << "it is not closed";
  Send(flood.server, 10);
  Turn();
  EXPECT_EQ(Receive(flood.client), 10) << "the other direction continues";
}

TEST_F(RelayTest, AClientThatCallsTooOftenWaits) {
  Open({.calls = {20, 40}});  // a connection may have half of it
  const Connected flood = Connect();
  const std::string call = Frame(FrameType::kHeaders, 1, std::string(300, 'x'), 5);
  size_t sent = 0;
  for (int i = 0; i < 100; ++i) sent += SendBytes(flood.client, call);
  const size_t piece = 4 << 10;
  const size_t first = ReceiveAll(flood.server);
  EXPECT_GE(first, 20 * call.size());
  EXPECT_LE(first, 20 * call.size() + 2 * piece);
  size_t came = first;
  for (int i = 0; i < 100; ++i) {
    clock_.Advance(absl::Milliseconds(100));
    came += ReceiveAll(flood.server);
  }
  EXPECT_EQ(came, sent) << "nothing is lost";
}

TEST_F(RelayTest, AClientThatResetsOrPingsTooOftenIsDisconnected) {
  uint64_t closed = 0;
  for (const FrameType type : {FrameType::kResetStream, FrameType::kPing}) {
    Open({.resets = {20, 40}, .control = {20, 40}});
    const Connected flood = Connect();
    const std::string frame = Frame(type, 1, std::string(300, 'x'));
    for (int i = 0; i < 19; ++i) SendBytes(flood.client, frame);  // SETTINGS was one
    EXPECT_EQ(ReceiveAll(flood.server), 19 * frame.size());
    for (int i = 0; i < 10; ++i) SendBytes(flood.client, frame);
    Turn();
    EXPECT_EQ(ReceiveBytes(flood.client)[3], '\7');
    EXPECT_EQ(refusals_.value(Refusal::kFrames), ++closed);
    relay_->CloseAll();
  }
}

TEST_F(RelayTest, ABrokenRuleGetsAGoAwayBetweenTwoFrames) {
  Open();
  Connected one = Connect();
  const std::string answer = Frame(FrameType::kData, 1, "hello");
  SendBytes(one.server, answer.substr(0, 7));
  Turn();
  EXPECT_EQ(ReceiveBytes(one.client).size(), 7);
  SendBytes(one.client, Frame(FrameType::kContinuation, 1, "x"));
  Turn();
  EXPECT_EQ(refusals_.value(Refusal::kFrames), 1);
  EXPECT_EQ(ReceiveBytes(one.client), "") << "a frame is not complete";
  SendBytes(one.server, answer.substr(7) + answer);
  Turn();
  const std::string end = ReceiveBytes(one.client);
  EXPECT_EQ(end.substr(0, answer.size() - 7), answer.substr(7));
  EXPECT_EQ(end.substr(answer.size() - 7),
            GoAwayFrame(0, "CONTINUATION without HEADERS before it"));
  EXPECT_EQ(Receive(one.client), std::nullopt);
  EXPECT_EQ(ReceiveBytes(one.server), "") << "it does not get that far";
  EXPECT_EQ(Receive(one.server), std::nullopt);
  one.client.Reset();
  Turn();
  EXPECT_EQ(ended_, std::vector<Relay::Id>{one.id});
}

// The server's SETTINGS hold for all that it reads, and a GOAWAY comes after them.
TEST_F(RelayTest, NothingIsReadBeforeTheServersSettings) {
  Open();
  const Connected one = Add();
  const std::string call = Frame(FrameType::kHeaders, 1, "x", 4);
  SendBytes(one.client, Start() + call);
  const std::string settings = Frame(FrameType::kSettings, 0, "");
  SendBytes(one.server, settings.substr(0, 8));
  Turn();
  EXPECT_EQ(ReceiveBytes(one.server), "");
  SendBytes(one.server, settings.substr(8));
  Turn();
  EXPECT_EQ(ReceiveBytes(one.client), settings);
  EXPECT_EQ(ReceiveBytes(one.server), Start() + Acknowledgement() + call);
}

TEST_F(RelayTest, ABrokenRuleEndsTheConnectionEvenIfItsClientDoesNotClose) {
  Open();
  const Connected one = Connect();
  SendBytes(one.client, Frame(FrameType::kContinuation, 1, "x"));
  Turn();
  EXPECT_EQ(ReceiveBytes(one.client)[3], '\7');
  clock_.Advance(absl::Seconds(2));
  Turn();
  EXPECT_EQ(ended_, std::vector<Relay::Id>{one.id});
}

TEST_F(RelayTest, AClientThatTakesNothingIsDisconnected) {
  Open();
  const Connected deaf = Connect();
  const Connected slow = Connect();
  const Connected quiet = Connect();
  SendAll(deaf.server);
  SendAll(slow.server);
  for (int i = 0; i < 3; ++i) {
    clock_.Advance(absl::Seconds(29));
    Receive(slow.client);
    Turn();
    SendAll(slow.server);
  }
  EXPECT_EQ(ended_, std::vector<Relay::Id>{deaf.id});
  EXPECT_EQ(refusals_.value(Refusal::kUnread), 1);
}

TEST_F(RelayTest, AFloodingPeerHasOneBudgetForAllConnections) {
  Open({.bytes = {1e5, 1e5}, .always = {100, 1000}});
  std::vector<Connected> floods;
  for (int i = 0; i < 10; ++i) floods.push_back(Connect("user 1"));
  const auto pass = [&floods, this] {
    size_t came = 0;
    for (const Connected& flood : floods) {
      Send(flood.client, 1 << 20);
      came += ReceiveAll(flood.server);
    }
    return came;
  };
  size_t came = pass() + pass();
  EXPECT_LE(came, 1e5 + 10 * 1000 + (16 << 10));
  const Connected calm = Connect("user 1");
  Send(calm.client, 500);
  EXPECT_EQ(ReceiveAll(calm.server), 500) << "a quiet client of the same peer is served";
  const Connected other = Connect("user 2");
  Send(other.client, 10'000);
  EXPECT_EQ(ReceiveAll(other.server), 10'000) << "another peer is unaffected";
}

TEST_F(RelayTest, AClientThatDoesNotReadBlocksItsServer) {
  Open();
  const Connected one = Connect();
  const size_t sent = SendAll(one.server);
  EXPECT_LT(sent, 2 << 20);
  EXPECT_EQ(Send(one.server, 1), 0);
  EXPECT_EQ(ReceiveAll(one.client), sent) << "nothing is lost";
  EXPECT_GT(Send(one.server, 1), 0);
}

TEST_F(RelayTest, AServerThatDoesNotReadBlocksItsClient) {
  Open({.bytes = {1e9, 1e9}});
  const Connected one = Connect();
  const size_t sent = SendAll(one.client);
  EXPECT_LT(sent, 2 << 20);
  EXPECT_EQ(ReceiveAll(one.server), sent) << "nothing is lost";
}

TEST_F(RelayTest, TheServersLastBytesArriveBeforeTheEnd) {
  Open();
  Connected one = Connect();
  const size_t sent = SendAll(one.server);
  one.server.Reset();
  Turn();
  EXPECT_TRUE(ended_.empty());
  EXPECT_EQ(ReceiveAll(one.client), sent);
  EXPECT_EQ(Receive(one.client), std::nullopt);
  one.client.Reset();
  Turn();
  EXPECT_EQ(ended_, std::vector<Relay::Id>{one.id});
  EXPECT_EQ(relay_->size(), 0);
}

TEST_F(RelayTest, AClientIsDisconnectedSomeTimeAfterTheServersEnd) {
  Open();
  Connected deaf = Connect();
  Connected silent = Connect();
  SendAll(deaf.server);
  deaf.server.Reset();
  silent.server.Reset();
  Turn();
  EXPECT_TRUE(ended_.empty());
  clock_.Advance(absl::Seconds(10));
  Turn();
  EXPECT_EQ(ended_.size(), 2);
}

TEST_F(RelayTest, AClientsEndReachesTheServer) {
  Open();
  Connected gone = Connect();
  Connected half = Connect();
  gone.client.Reset();
  Send(half.client, 10);
  shutdown(half.client.get(), SHUT_WR);
  Turn();
  EXPECT_EQ(ended_, std::vector<Relay::Id>{gone.id});
  EXPECT_EQ(Receive(gone.server), std::nullopt);
  EXPECT_EQ(Receive(half.server), 10);
  EXPECT_EQ(Receive(half.server), std::nullopt);
  Send(half.server, 10);
  Turn();
  EXPECT_EQ(Receive(half.client), 10) << "it can still be answered";
  half.server.Reset();
  Turn();
  EXPECT_EQ(ended_.size(), 2);
}

TEST_F(RelayTest, ClosesAConnectionFromAnyThread) {
  Open();
  const Connected one = Connect();
  const Connected other = Connect();
  std::thread([&] { relay_->Cut(one.id); }).join();
  Turn();
  EXPECT_EQ(ended_, std::vector<Relay::Id>{one.id});
  EXPECT_EQ(Receive(one.client), std::nullopt);
  relay_->Cut(one.id);
  Turn();
  EXPECT_EQ(relay_->size(), 1);
}

// Else epoll_wait could hold the last reference to it, and would wait for what it holds.
TEST_F(RelayTest, AClosedConnectionIsNotWatched) {
  Open();
  int pair[2] = {-1, -1};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const UniqueFd client(pair[1]);
  const UniqueFd still_open(dup(pair[0]));
  const auto added = relay_->Add(ReceivingSocket(UniqueFd(pair[0]), &closer_), nullptr, "user 1");
  ASSERT_TRUE(added.ok());
  EXPECT_TRUE(IsWatchedByEpoll(still_open.get()));
  relay_->Cut(added->id);
  Turn();
  EXPECT_FALSE(IsWatchedByEpoll(still_open.get()));
}

}  // namespace
}  // namespace vmeventd
