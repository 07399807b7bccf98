#include "server/access/clients.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/access/refusals.h"

namespace vmeventd {
namespace {

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
  EXPECT_EQ(clients_.Begin("a", CallKind::kStream)->caller().peer, "user 1");
  EXPECT_EQ(clients_.Begin("b", CallKind::kStream)->caller().peer, "192.0.2.7");
  clients_.Remove("a");
  EXPECT_EQ(clients_.Begin("a", CallKind::kStream).status().code(), absl::StatusCode::kUnavailable);
}

// Opens as many calls as are permitted, of one peer and of others.
TEST_F(ClientsTest, StreamsAndOtherCallsHaveALimitForEachPeerAndOneInTotal) {
  for (const char* name : {"a", "b", "c"}) Add(name, absl::StrCat("user ", name));
  const struct {
    CallKind kind;
    size_t of_peer;
    const char* what;
    Refusal of_peer_refused;
    Refusal refused;
  } rows[] = {{CallKind::kStream, 2, "streams", Refusal::kStreamsPerPeer, Refusal::kStreams},
              {CallKind::kOther, 1, "calls other than WatchEvents", Refusal::kCallsPerPeer,
               Refusal::kCalls}};
  for (const auto& row : rows) {
    std::vector<Clients::Call> open;
    const auto refusal = [&](const std::string& name) {
      return std::string(clients_.Begin(name, row.kind).status().message());
    };
    const std::string too_many = absl::StrCat("too many ", row.what, ": at most ");
    for (const std::string name : {"a", "b"}) {
      for (size_t i = 0; i < row.of_peer; ++i) open.push_back(*clients_.Begin(name, row.kind));
      EXPECT_EQ(refusal(name),
                absl::StrCat(too_many, row.of_peer, " may be open from user ", name));
    }
    EXPECT_EQ(refusals_.value(row.of_peer_refused), 2);
    EXPECT_EQ(refusal("c"), absl::StrCat(too_many, 2 * row.of_peer, " may be open"));
    EXPECT_EQ(refusals_.value(row.refused), 1);
    EXPECT_EQ(clients_.open_calls(), open.size());
    open.pop_back();
    EXPECT_EQ(refusal("c"), "") << "one has ended";
  }
}

TEST_F(ClientsTest, EachListenerHasASeparateShare) {
  Add("a", "user 1");
  Add("b", "user 2");
  clients_.Add("c", {.peer = "user 1", .listener = 1}, nullptr);
  std::vector<Clients::Call> open;
  for (const char* name : {"a", "b"}) {
    for (int i = 0; i < 2; ++i) open.push_back(*clients_.Begin(name, CallKind::kStream));
  }
  EXPECT_FALSE(clients_.Begin("b", CallKind::kStream).ok());
  EXPECT_TRUE(clients_.Begin("c", CallKind::kStream).ok());
  EXPECT_EQ(clients_.open_calls(), 4);
}

TEST_F(ClientsTest, AConnectionIsCutBeyondTwiceItsPeersLimitOfOpenCalls) {
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

TEST(Clients, TheMemoryThatCallsHoldIsBounded) {
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
