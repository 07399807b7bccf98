#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/system.h"
#include "server/access/access.h"

namespace vmeventd {
namespace {

// The peer of a connection from `from` to a listener on `to`, both of `family`.
template <typename Address>
std::string PeerOfConnection(Address from, Address to, sa_family_t family) {
  const UniqueFd listener(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  EXPECT_EQ(listen(listener.get(), 1), 0);
  socklen_t size = sizeof(to);
  EXPECT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&to), &size), 0);
  const UniqueFd client(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(bind(client.get(), reinterpret_cast<sockaddr*>(&from), sizeof(from)), 0);
  EXPECT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  const UniqueFd accepted(accept(listener.get(), nullptr, nullptr));
  return PeerOfSocket(accepted.get());
}

TEST(PeerOfSocket, IsTheAddress) {
  sockaddr_in from{};
  from.sin_family = AF_INET;
  sockaddr_in to = from;
  ASSERT_EQ(inet_pton(AF_INET, "127.0.0.7", &from.sin_addr), 1);
  ASSERT_EQ(inet_pton(AF_INET, "127.0.0.1", &to.sin_addr), 1);
  EXPECT_EQ(PeerOfConnection(from, to, AF_INET), "127.0.0.7");
}

TEST(PeerOfAddress, IsTheNetworkOfAnIpv6Host) {
  const auto peer = [](const char* text) {
    in6_addr address{};
    EXPECT_EQ(inet_pton(AF_INET6, text, &address), 1);
    return PeerOfIpv6(address);
  };
  EXPECT_EQ(peer("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
  EXPECT_EQ(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff:ffff:ffff:ffff"));
  EXPECT_NE(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
  EXPECT_EQ(peer("::1"), "::/64");
  EXPECT_EQ(peer("::ffff:192.0.2.7"), "192.0.2.7") << "the same host by IPv4";
}

TEST(PeerOfSocket, IsTheUserOfAUnixSocket) {
  int pair[2] = {-1, -1};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const UniqueFd one(pair[0]);
  const UniqueFd other(pair[1]);
  EXPECT_EQ(PeerOfSocket(one.get()), absl::StrCat("user ", getuid()));
}

TEST(PeerOfSocket, IsEmptyWithoutAConnection) {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(PeerOfSocket(fd.get()), "");
}

class ClientsTest : public ::testing::Test {
 protected:
  void Add(const std::string& name, const std::string& peer) {
    clients_.Add(name, {.peer = peer}, [this, name] { cut_.push_back(name); });
  }

  RefusalCounters refusals_;
  std::vector<std::string> cut_;
  Clients clients_{{.streams = 4, .streams_of_peer = 2, .other_calls = 2, .other_calls_of_peer = 1},
                   &refusals_};
};

TEST_F(ClientsTest, AreIdentifiedByTheNameOfTheirConnection) {
  Add("a", "user 1");
  Add("b", "192.0.2.7");
  EXPECT_EQ(clients_.CallerOf("a").peer, "user 1");
  EXPECT_EQ(clients_.CallerOf("b").peer, "192.0.2.7");
  clients_.Remove("a");
  EXPECT_EQ(clients_.CallerOf("a").peer, "a closed connection");
  EXPECT_EQ(clients_.Begin("a", CallKind::kStream).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ClientsTest, APeerHasALimitOfStreams) {
  Add("a", "user 1");
  Add("b", "user 1");
  Add("c", "user 2");
  const Clients::Call first = *clients_.Begin("a", CallKind::kStream);
  {
    const Clients::Call second = *clients_.Begin("b", CallKind::kStream);
    EXPECT_EQ(std::string(clients_.Begin("a", CallKind::kStream).status().message()),
              "too many streams: at most 2 may be open from user 1");
    EXPECT_EQ(refusals_.value(Refusal::kStreamsPerPeer), 1);
    EXPECT_TRUE(clients_.Begin("c", CallKind::kStream).ok());
    EXPECT_EQ(clients_.open_calls(), 2);
  }
  EXPECT_TRUE(clients_.Begin("b", CallKind::kStream).ok()) << "the second has ended";
}

TEST_F(ClientsTest, CallsOtherThanStreamsHaveALowerLimit) {
  for (const char* name : {"a", "b", "c"}) Add(name, absl::StrCat("user ", name));
  const Clients::Call of_a = *clients_.Begin("a", CallKind::kOther);
  EXPECT_EQ(std::string(clients_.Begin("a", CallKind::kOther).status().message()),
            "too many calls other than WatchEvents: at most 1 may be open from user a");
  EXPECT_EQ(refusals_.value(Refusal::kCallsPerPeer), 1);
  EXPECT_TRUE(clients_.Begin("a", CallKind::kStream).ok());
  {
    const Clients::Call of_b = *clients_.Begin("b", CallKind::kOther);
    EXPECT_EQ(std::string(clients_.Begin("c", CallKind::kOther).status().message()),
              "too many calls other than WatchEvents: at most 2 may be open");
    EXPECT_EQ(refusals_.value(Refusal::kCalls), 1);
    EXPECT_TRUE(clients_.Begin("c", CallKind::kStream).ok());
  }
  EXPECT_TRUE(clients_.Begin("c", CallKind::kOther).ok()) << "that of b has ended";
}

TEST_F(ClientsTest, TheStreamsOfAllPeersHaveALimit) {
  std::vector<Clients::Call> open;
  for (const char* name : {"a", "b", "c"}) {
    Add(name, name);
    for (int i = 0; i < 2 && open.size() < 4; ++i) {
      open.push_back(*clients_.Begin(name, CallKind::kStream));
    }
  }
  EXPECT_EQ(std::string(clients_.Begin("c", CallKind::kStream).status().message()),
            "too many streams: at most 4 may be open");
  EXPECT_EQ(refusals_.value(Refusal::kStreams), 1);
}

TEST_F(ClientsTest, EachListenerHasItsOwnShare) {
  Add("a", "user 1");
  Add("b", "user 2");
  clients_.Add("c", {.listener = 1, .peer = "user 1"}, nullptr);
  std::vector<Clients::Call> open;
  for (const char* name : {"a", "b"}) {
    for (int i = 0; i < 2; ++i) open.push_back(*clients_.Begin(name, CallKind::kStream));
  }
  EXPECT_FALSE(clients_.Begin("b", CallKind::kStream).ok());
  EXPECT_TRUE(clients_.Begin("c", CallKind::kStream).ok());
  EXPECT_EQ(clients_.open_calls(), 4);
}

TEST_F(ClientsTest, AConnectionIsCutOverTwiceItsPeersLimitOfCallsThatAreNotDone) {
  Add("a", "user 1");
  Add("b", "user 1");
  Add("c", "user 2");
  std::vector<Clients::Call> open;
  open.push_back(*clients_.Begin("a", CallKind::kOther));
  open.push_back(*clients_.BeginRefused("a"));
  EXPECT_TRUE(cut_.empty());
  for (int i = 0; i < 10; ++i) clients_.BeginRefused("a").reset();
  EXPECT_EQ(cut_, std::vector<std::string>{"a"}) << "once";
  EXPECT_EQ(refusals_.value(Refusal::kUnread), 1);
  open.push_back(*clients_.BeginRefused("b"));
  EXPECT_EQ(cut_, (std::vector<std::string>{"a", "b"})) << "of the same peer";
  open.push_back(*clients_.BeginRefused("c"));
  EXPECT_EQ(cut_.size(), 2);
  open.clear();
  EXPECT_EQ(clients_.open_calls(), 0);
  EXPECT_FALSE(clients_.BeginRefused("gone").has_value());
}

TEST_F(ClientsTest, RefusedCallsOfOnePeerTakeNoPlaceOfOthers) {
  Add("a", "user 1");
  Add("b", "user 2");
  std::vector<Clients::Call> unread;
  for (int i = 0; i < 2; ++i) unread.push_back(*clients_.BeginRefused("a"));
  EXPECT_TRUE(clients_.Begin("b", CallKind::kOther).ok());
}

TEST(Clients, WhatCallsHoldIsBounded) {
  RefusalCounters refusals;
  Clients clients({.held_bytes = 250, .held_bytes_of_peer = 150}, &refusals);
  for (const char* name : {"a", "b"}) clients.Add(name, {.peer = name}, nullptr);
  std::vector<Clients::Call> open;
  for (const char* name : {"a", "a", "b", "b"}) {
    open.push_back(*clients.Begin(name, CallKind::kOther));
  }
  EXPECT_TRUE(open[0].Hold(100).ok());
  EXPECT_EQ(open[1].Hold(100).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(open[2].Hold(150).ok());
  EXPECT_FALSE(open[3].Hold(1).ok());
  open.clear();
  open.push_back(*clients.Begin("b", CallKind::kOther));
  EXPECT_TRUE(open[0].Hold(150).ok());
}

TEST_F(ClientsTest, DrainRefusesNewCalls) {
  Add("a", "user 1");
  {
    const absl::StatusOr<Clients::Call> open = clients_.Begin("a", CallKind::kStream);
    clients_.Drain();
    EXPECT_EQ(clients_.Begin("a", CallKind::kStream).status().code(),
              absl::StatusCode::kUnavailable);
    EXPECT_EQ(clients_.open_calls(), 1);
  }
  clients_.WaitUntilNoCalls(absl::Seconds(30));
  EXPECT_EQ(clients_.open_calls(), 0);
}

}  // namespace
}  // namespace vmeventd
