#include "watcher/qmp/monitor_connection.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/test_util.h"
#include "tests/watcher/qmp/monitor_fixture.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr char kEvent[] =
    "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"X\"}\r\n";

TEST(OpenSocketFileTest, TellsWhyItIsNoSocket) {
  TempDir directory;
  SocketFile file;
  EXPECT_EQ(OpenSocketFile(directory.Path("missing"), &file), ENOENT);
  WriteFile(directory.Path("file"));
  EXPECT_EQ(OpenSocketFile(directory.Path("file"), &file), ENOTSOCK);
  ASSERT_EQ(mkfifo(directory.Path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(OpenSocketFile(directory.Path("fifo"), &file), ENOTSOCK);
  FakeQemu qemu;
  qemu.AddMonitor(directory.Path("socket"));
  ASSERT_EQ(symlink(directory.Path("socket").c_str(), directory.Path("link").c_str()), 0);
  EXPECT_EQ(OpenSocketFile(directory.Path("link"), &file), ENOTSOCK);
  EXPECT_EQ(OpenSocketFile(directory.Path("socket"), &file), 0);
}

TEST(IdentifySocketTest, TellsOneSocketFromTheNextAtItsPath) {
  TempDir directory;
  FakeQemu qemu;
  const std::string path = directory.Path("socket");
  SocketIdentity identity;
  EXPECT_EQ(IdentifySocket(path, &identity), ENOENT);
  qemu.AddMonitor(path);
  SocketFile file;
  ASSERT_EQ(OpenSocketFile(path, &file), 0);
  ASSERT_EQ(IdentifySocket(path, &identity), 0);
  EXPECT_EQ(identity, file.identity);
  file.fd.Reset();
  ASSERT_TRUE(StepUntil([] {}, [&] {  // its inode may be used again, and its time in one tick
    EXPECT_EQ(unlink(path.c_str()), 0);
    qemu.AddMonitor(path);
    EXPECT_EQ(IdentifySocket(path, &identity), 0);
    return !(identity == file.identity);
  }));
  ASSERT_EQ(symlink(path.c_str(), directory.Path("link").c_str()), 0);
  EXPECT_EQ(IdentifySocket(directory.Path("link"), &identity), ENOTSOCK);
}

TEST(ConnectToTest, GivesTheErrnoOfASocketThatDoesNotListen) {
  TempDir directory;
  FakeQemu qemu;
  qemu.AddMonitor(directory.Path("socket"), {.listen = false});
  SocketFile file;
  UniqueFd connection;
  ASSERT_EQ(OpenSocketFile(directory.Path("socket"), &file), 0);
  EXPECT_EQ(ConnectTo(file, &connection), ECONNREFUSED);
}

class MonitorConnectionTest : public MonitorFixture<SystemClock> {
 protected:
  void Connect(const FakeMonitor& behavior = {}) { MonitorFixture::Connect(nullptr, behavior); }
  bool UntilReady() {
    return Until([this] { return info_.has_value(); });
  }
  void ConnectUntilReady(const FakeMonitor& behavior = {}) {
    Connect(behavior);
    ASSERT_TRUE(UntilReady());
  }
};

TEST_F(MonitorConnectionTest, LeadsTheHandshake) {
  FakeMonitor behavior{
      .status = "paused", .uuid = "550e8400-e29b-41d4-a716-446655440000", .name = "guest"};
  ConnectUntilReady(behavior);
  EXPECT_TRUE(connection_->greeted());
  EXPECT_EQ(info_->qemu_version, "7.2.22");
  EXPECT_EQ(info_->run_state, "paused");
  EXPECT_EQ(info_->uuid, behavior.uuid);
  EXPECT_EQ(info_->qemu_name, "guest");
  EXPECT_THAT(qemu_.Commands(monitor_),
              ElementsAre("{\"execute\":\"qmp_capabilities\"}", "{\"execute\":\"query-uuid\"}",
                          "{\"execute\":\"query-name\"}", "{\"execute\":\"query-status\"}"));
}

TEST_F(MonitorConnectionTest, HandsOnEventsBetweenTheReplies) {
  ConnectUntilReady({.before_replies = kEvent});
  EXPECT_THAT(events_, ElementsAre("X", "X", "X", "X"));
  EXPECT_FALSE(ready_at_event_);
}

TEST_F(MonitorConnectionTest, ARepliesShapeMayBeAnyAndAnErrorLeavesItsFieldEmpty) {
  const std::string error =
      "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"not here\"}}\r\n";
  ConnectUntilReady({.replies = {{"qmp_capabilities", error},
                                 {"query-status", "{\"return\": [1, 2]}\n"},
                                 {"query-uuid", "{\"return\": {\"UUID\": 17}}\n"},
                                 {"query-name", error}}});
  EXPECT_EQ(info_->run_state + info_->uuid + info_->qemu_name, "");
  EXPECT_EQ(info_->qemu_version, "7.2.22");
}

// As a QEMU with one port, the agent's, answers.
FakeMonitor WithAgentPort() {
  FakeMonitor behavior;
  behavior.replies = {
      {"qom-list", "{\"return\": [{\"name\": \"ch\", \"type\": \"child<virtserialport>\"}]}\r\n"},
      {"qom-get", "{\"return\": \"org.qemu.guest_agent.0\"}\r\n"},
      {"query-chardev",
       "{\"return\": [{\"label\": \"org.qemu.guest_agent.0\", "
       "\"frontend-open\": true}]}\r\n"}};
  return behavior;
}

TEST_F(MonitorConnectionTest, ObjectsMayBeSpreadOverLines) {
  ConnectUntilReady({.split = true,
                     .greeting = Spread(FakeMonitor().greeting),
                     .before_replies = Spread(kEvent),
                     .replies = {{"query-status", Spread(R"({"return": {"status": "paused"}})")}}});
  EXPECT_EQ(info_->qemu_version, "7.2.22");
  EXPECT_EQ(info_->run_state, "paused");
  EXPECT_THAT(events_, ElementsAre("X", "X", "X", "X"));
}

TEST_F(MonitorConnectionTest, FindsTheGuestAgentBetweenTheRunStates) {
  ConnectUntilReady(WithAgentPort());
  connection_->RequestGuestAgent();
  connection_->RequestGuestAgent();
  connection_->RequestRunState();
  ASSERT_TRUE(Until([&] { return agents_.size() == 1 && states_.size() == 1; }));
  ASSERT_THAT(qemu_.Commands(monitor_), SizeIs(11));
  EXPECT_THAT(qemu_.Commands(monitor_)[5], HasSubstr("query-status")) << "they take turns";
  EXPECT_TRUE(agents_[0].present);
  EXPECT_TRUE(agents_[0].open);
  EXPECT_EQ(agents_[0].port, "ch");
}

TEST_F(MonitorConnectionTest, AQemuThatCannotTellOfAnAgentHasNone) {
  ConnectUntilReady();  // its answers have no such shape
  EXPECT_EQ(info_->uuid, "") << "the null UUID is none";
  connection_->RequestGuestAgent();
  ASSERT_TRUE(Until([&] { return agents_.size() == 1; }));
  EXPECT_FALSE(agents_[0].present);
}

TEST_F(MonitorConnectionTest, RequestsOfTheRunStateBecomeOneWhileOneIsOut) {
  Connect();
  connection_->RequestRunState();  // too early: the handshake asks anyway
  ASSERT_TRUE(UntilReady());
  for (int i = 0; i < 5; ++i) connection_->RequestRunState();
  ASSERT_TRUE(Until([&] { return states_.size() == 1; }));
  connection_->RequestRunState();
  ASSERT_TRUE(Until([&] { return states_.size() == 2; }));
  EXPECT_THAT(states_, ElementsAre("running", "running"));
  EXPECT_EQ(qemu_.Commands(monitor_).size(), 6u);
}

TEST_F(MonitorConnectionTest, TellsOfTheEnd) {
  ConnectUntilReady();
  qemu_.Send(monitor_, kEvent);
  qemu_.CloseClient(monitor_);
  ASSERT_TRUE(Until([&] { return closed_.has_value(); }));
  EXPECT_THAT(events_, ElementsAre("X"));
  EXPECT_EQ(*closed_, "EOF");
  EXPECT_FALSE(protocol_error_);
  EXPECT_FALSE(connection_->open());
}

TEST_F(MonitorConnectionTest, DrainReadsToTheEnd) {
  ConnectUntilReady();
  qemu_.Send(monitor_, kEvent);
  connection_->Drain();
  EXPECT_THAT(events_, ElementsAre("X"));
  EXPECT_TRUE(connection_->open());
  qemu_.Send(monitor_, kEvent);
  qemu_.CloseClient(monitor_);
  connection_->Drain();
  EXPECT_THAT(events_, ElementsAre("X", "X"));
  EXPECT_TRUE(closed_.has_value());
}

TEST_F(MonitorConnectionTest, WhatIsNoQmpClosesIt) {
  ConnectUntilReady();
  qemu_.Send(monitor_, std::string(kEvent) + "SSH-2.0-OpenSSH\r\n" + kEvent);
  ASSERT_TRUE(Until([&] { return closed_.has_value(); }));
  EXPECT_TRUE(protocol_error_);
  EXPECT_THAT(events_, ElementsAre("X"));
}

TEST_F(MonitorConnectionTest, ALongLineIsFineUpToTheLimit) {
  ConnectUntilReady();
  qemu_.SendLongEvent(monitor_, 1 << 19);
  ASSERT_TRUE(Until([&] { return !events_.empty(); }));
  EXPECT_FALSE(closed_.has_value());
  qemu_.SendLongEvent(monitor_, LineFramer::kMaxLineBytes);
  ASSERT_TRUE(Until([&] { return closed_.has_value(); }));
  EXPECT_TRUE(protocol_error_);
  EXPECT_THAT(*closed_, HasSubstr("1 MiB"));
}

TEST_F(MonitorConnectionTest, AFloodIsReadInPartsOfOneTurnEach) {
  constexpr size_t kPart = MonitorBudget::kTurnBytes / (sizeof(kEvent) - 1) + 1;
  ConnectUntilReady();
  std::string flood;
  for (size_t i = 0; i < 10 * kPart; ++i) flood += kEvent;
  qemu_.Send(monitor_, flood);
  ASSERT_TRUE(StepUntil(
      [&] {
        const size_t before = events_.size();
        loop_->RunOnce(absl::Milliseconds(10));
        ASSERT_LE(events_.size() - before, kPart);
      },
      [&] { return events_.size() == 10 * kPart; }));
}

TEST_F(MonitorConnectionTest, OneThatWouldHoldTooMuchOfUnfinishedLinesIsClosed) {
  ConnectUntilReady();
  size_t others = 0;
  ASSERT_TRUE(budget_.Hold(&others, MonitorBudget::kMaxHeldBytes - 64));
  qemu_.Send(monitor_, "{");
  ASSERT_TRUE(Until([&] { return budget_.held() > others; }));
  qemu_.Send(monitor_, std::string(100, ' '));
  ASSERT_TRUE(Until([&] { return closed_.has_value(); }));
  EXPECT_THAT(*closed_, HasSubstr("unfinished lines"));
  EXPECT_EQ(budget_.refused(), 1u);
  ASSERT_TRUE(budget_.Hold(&others, 0));
}

TEST_F(MonitorConnectionTest, ClosedByUsItTellsNothing) {
  ConnectUntilReady();
  connection_->Close();
  EXPECT_TRUE(Until([&] { return !qemu_.HasClient(monitor_); }));
  EXPECT_FALSE(closed_.has_value());
}

}  // namespace
}  // namespace vmeventd
