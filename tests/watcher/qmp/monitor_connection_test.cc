#include "watcher/qmp/monitor_connection.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/manual_clock.h"
#include "tests/support/qmp_lines.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr char kEvent[] =
    "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"X\"}\r\n";

// A monitor of a fake QEMU, our end of it, and what that reports.
template <typename TheClock>
class MonitorFixture : public testing::Test, public MonitorConnection::Delegate {
 protected:
  ~MonitorFixture() override { connection_.reset(); }

  void Connect(CommandLines* command_lines, const FakeMonitor& behavior,
               absl::Duration greeting_timeout = absl::InfiniteDuration()) {
    monitor_ = qemu_.AddMonitor(directory_.Path("m"), behavior);
    SocketFile file;
    UniqueFd socket;
    ASSERT_EQ(OpenSocketFile(directory_.Path("m"), &file), 0);
    ASSERT_EQ(ConnectTo(file, &socket), 0);
    connection_ = std::make_unique<MonitorConnection>(
        loop_.get(), ReceivingSocket(std::move(socket), &closer_), &budget_, command_lines, this);
    ASSERT_TRUE(connection_->Start(greeting_timeout).ok());
  }
  bool Until(const std::function<bool()>& done) {
    return StepUntil([this] { loop_->RunOnce(absl::Milliseconds(10)); }, done);
  }

  std::string OnSender(int64_t) override { return ""; }
  void OnCommandLine(const CommandLineRead&) override {}
  void OnGreetingLate() override { ++late_greetings_; }
  void OnReplyLate(bool last) override { late_replies_.push_back(last); }
  void OnReady(const MonitorInfo& info) override { info_ = info; }
  void OnEvent(const QmpEvent& event) override {
    events_.push_back(event.name);
    ready_at_event_ = info_.has_value();
  }
  void OnRunStateReply(absl::string_view state) override { states_.emplace_back(state); }
  void OnGuestAgentReply(const GuestAgentInfo& info) override { agents_.push_back(info); }
  void OnClosed(absl::string_view why, bool protocol_error) override {
    closed_.emplace(why);
    protocol_error_ = protocol_error;
  }

  TemporaryDirectory directory_;
  TheClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  MonitorBudget budget_;
  FakeQemu qemu_;
  int monitor_ = -1;
  SocketCloser closer_;
  std::unique_ptr<MonitorConnection> connection_;
  int late_greetings_ = 0;
  std::vector<bool> late_replies_;
  std::optional<MonitorInfo> info_;  // once it is ready
  std::vector<std::string> events_;
  bool ready_at_event_ = false;
  std::vector<std::string> states_;
  std::vector<GuestAgentInfo> agents_;
  std::optional<std::string> closed_;
  bool protocol_error_ = false;
};

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

TEST_F(MonitorConnectionTest, TheHandshakeAsksForUuidNameAndRunState) {
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

TEST_F(MonitorConnectionTest, EventsBetweenTheRepliesArePassedOn) {
  ConnectUntilReady({.before_replies = kEvent});
  EXPECT_THAT(events_, ElementsAre("X", "X", "X", "X"));
  EXPECT_FALSE(ready_at_event_);
}

TEST_F(MonitorConnectionTest, AnErrorOrAnUnexpectedReplyLeavesItsFieldEmpty) {
  const std::string error =
      "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"not here\"}}\r\n";
  ConnectUntilReady({.replies = {{"qmp_capabilities", error},
                                 {"query-status", "{\"return\": [1, 2]}\n"},
                                 {"query-uuid", "{\"return\": {\"UUID\": 17}}\n"},
                                 {"query-name", error}}});
  EXPECT_EQ(info_->run_state + info_->uuid + info_->qemu_name, "");
  EXPECT_EQ(info_->qemu_version, "7.2.22");
}

// A monitor that answers like a QEMU whose one port is the agent's.
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
  connection_->Request(Question::kGuestAgent);
  connection_->Request(Question::kGuestAgent);
  connection_->Request(Question::kRunState);
  ASSERT_TRUE(Until([&] { return agents_.size() == 1 && states_.size() == 1; }));
  ASSERT_THAT(qemu_.Commands(monitor_), SizeIs(11));
  EXPECT_THAT(qemu_.Commands(monitor_)[5], HasSubstr("query-status")) << "they take turns";
  EXPECT_TRUE(agents_[0].present);
  EXPECT_TRUE(agents_[0].open);
  EXPECT_EQ(agents_[0].port, "ch");
}

TEST_F(MonitorConnectionTest, AQemuThatCannotReportAnAgentHasNone) {
  ConnectUntilReady();  // its answers are not in the expected form
  EXPECT_EQ(info_->uuid, "") << "the null UUID is none";
  connection_->Request(Question::kGuestAgent);
  ASSERT_TRUE(Until([&] { return agents_.size() == 1; }));
  EXPECT_FALSE(agents_[0].present);
}

TEST_F(MonitorConnectionTest, RequestsForTheRunStateAreMergedWhileOneIsPending) {
  Connect();
  connection_->Request(Question::kRunState);  // too early: the handshake asks anyway
  ASSERT_TRUE(UntilReady());
  for (int i = 0; i < 5; ++i) connection_->Request(Question::kRunState);
  ASSERT_TRUE(Until([&] { return states_.size() == 1; }));
  connection_->Request(Question::kRunState);
  ASSERT_TRUE(Until([&] { return states_.size() == 2; }));
  EXPECT_THAT(states_, ElementsAre("running", "running"));
  EXPECT_EQ(qemu_.Commands(monitor_).size(), 6u);
}

TEST_F(MonitorConnectionTest, ReportsTheEnd) {
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

TEST_F(MonitorConnectionTest, TextThatIsNoQmpClosesTheConnection) {
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

TEST_F(MonitorConnectionTest, AMonitorWithTooLargeUnfinishedLinesIsClosed) {
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

TEST_F(MonitorConnectionTest, CloseCallsNoDelegate) {
  ConnectUntilReady();
  connection_->Close();
  EXPECT_TRUE(Until([&] { return !qemu_.HasClient(monitor_); }));
  EXPECT_FALSE(closed_.has_value());
}

// The time that a monitor may take for its greeting, its first answers and a line, by a clock that
// only the test moves.

// Reads that the test finishes, unless one is set to finish at once.
class HeldCommandLines : public CommandLines {
 public:
  std::shared_ptr<const CommandLineRead> Begin(int64_t) override {
    begun = std::make_shared<CommandLineRead>();
    if (at_once.has_value()) begun->Finish(std::make_unique<QemuArguments>(*at_once));
    return begun;
  }

  std::optional<QemuArguments> at_once;
  std::shared_ptr<CommandLineRead> begun;
};

class MonitorHandshakeTest : public MonitorFixture<ManualClock> {
 protected:
  void Connect(const FakeMonitor& behavior) {
    MonitorFixture::Connect(&command_lines_, behavior, absl::Seconds(3));
  }
  // Time passes once the fake has answered what came before: however slow it is, it is not late.
  bool UntilReady() {
    return Until([this] {
      if (info_.has_value()) return true;
      qemu_.Commands(0);
      clock_.Advance(CommandPacer::kQuietTime);
      return false;
    });
  }
  // Time passes as far as commands wait for it.
  bool UntilCommands(size_t count) {
    return Until([&] {
      if (qemu_.Commands(0).size() == count) return true;
      clock_.Advance(absl::Milliseconds(1));
      return false;
    });
  }
  void Pass(absl::Duration time) {
    clock_.Advance(time);
    for (int i = 0; i < 3; ++i) loop_->RunOnce(absl::ZeroDuration());
  }

  HeldCommandLines command_lines_;
};

TEST_F(MonitorHandshakeTest, AMissingGreetingIsReportedOnceAfterItsTimeout) {
  Connect({.greet = false});
  Pass(absl::Seconds(3) - absl::Milliseconds(1));
  EXPECT_EQ(late_greetings_, 0);
  Pass(absl::Milliseconds(1));
  EXPECT_EQ(late_greetings_, 1);
  Pass(absl::Minutes(1));
  EXPECT_EQ(late_greetings_, 1);
  EXPECT_TRUE(connection_->open()) << "its owner decides";
}

TEST_F(MonitorHandshakeTest, MissingRepliesAreReportedEachSecondForTenSeconds) {
  Connect({.answer = false});
  ASSERT_TRUE(Until([this] { return connection_->greeted(); }));
  Pass(CommandPacer::kQuietTime);
  for (int second = 1; second < 10; ++second) {
    Pass(absl::Seconds(1));
    ASSERT_THAT(late_replies_, SizeIs(second));
  }
  EXPECT_THAT(late_replies_, Each(false));
  Pass(absl::Seconds(1));
  EXPECT_TRUE(late_replies_.back());
  Pass(absl::Minutes(1));
  EXPECT_THAT(late_replies_, SizeIs(10));
  EXPECT_EQ(late_greetings_, 0);
}

// QEMU may hang in its exit over commands that come close to each other: docs/internals/qemu.md.
TEST_F(MonitorHandshakeTest, OneCommandIsSentAtATimeAndNoneBeforeTheQuietTimeIsOver) {
  Connect({.answer = false});
  ASSERT_TRUE(Until([this] { return connection_->greeted(); }));
  for (const char* answer : {"{}", "{\"UUID\": \"\"}", "{\"name\": \"\"}"}) {
    const size_t before = qemu_.Commands(0).size();
    Pass(CommandPacer::kQuietTime - absl::Nanoseconds(1));
    EXPECT_THAT(qemu_.Commands(0), SizeIs(before));
    Pass(absl::Nanoseconds(1));
    ASSERT_TRUE(UntilCommands(before + 1));
    Pass(absl::Milliseconds(900));
    EXPECT_THAT(qemu_.Commands(0), SizeIs(before + 1)) << "one is out";
    qemu_.Send(0, std::string("{\"return\": ") + answer + "}\r\n");
    for (int i = 0; i < 3; ++i) loop_->RunOnce(absl::Milliseconds(10));
  }
}

TEST_F(MonitorHandshakeTest, NoCommandAsksForAValueThatTheCommandLineHas) {
  command_lines_.at_once = {.certain_name = "web1"};
  Connect({.uuid = "5"});
  ASSERT_TRUE(UntilReady());
  EXPECT_THAT(qemu_.Commands(0), ElementsAre(HasSubstr("qmp_capabilities"), HasSubstr("query-uuid"),
                                             HasSubstr("query-status")));
  EXPECT_EQ(info_->qemu_name, "web1");
  EXPECT_EQ(info_->uuid, "5");
  Pass(absl::Minutes(1));
  EXPECT_EQ(late_greetings_, 0);
  EXPECT_THAT(late_replies_, IsEmpty());
}

class QuietStartTest : public MonitorHandshakeTest, public testing::WithParamInterface<bool> {};

INSTANTIATE_TEST_SUITE_P(CommandLines, QuietStartTest, testing::Bool(), [](const auto& test) {
  return test.param ? "ThatIsKnown" : "ThatIsNeverRead";
});

TEST_P(QuietStartTest, OnlyTheCapabilitiesAreNegotiatedAtFirst) {
  if (GetParam()) command_lines_.at_once = QemuArguments();
  Connect({});
  ASSERT_TRUE(UntilCommands(1));
  for (int i = 0; i < 3; ++i) loop_->RunOnce(absl::Milliseconds(10));
  Pass(MonitorConnection::kQuietStart - absl::Nanoseconds(1));
  EXPECT_THAT(qemu_.Commands(0), ElementsAre(HasSubstr("qmp_capabilities")));
  ASSERT_TRUE(UntilCommands(4));
}

TEST_F(MonitorHandshakeTest, AQemuWithAnIncomingVmIsAskedAtOnce) {
  command_lines_.at_once = {.incoming = true};
  Connect({});
  ASSERT_TRUE(UntilCommands(1));
  const absl::Duration began = clock_.Now().monotonic;
  ASSERT_TRUE(UntilCommands(2));
  EXPECT_LT(clock_.Now().monotonic - began, MonitorConnection::kQuietStart);
}

TEST_F(MonitorHandshakeTest, NoCommandIsSentAfterAShutdownUntilTheVmContinues) {
  Connect({});
  ASSERT_TRUE(UntilCommands(2));
  qemu_.Send(0, EventLine("SHUTDOWN"));
  ASSERT_TRUE(Until([this] { return events_.size() == 1; }));
  Pass(absl::Minutes(1));
  EXPECT_THAT(qemu_.Commands(0), SizeIs(2));
  EXPECT_THAT(late_replies_, IsEmpty()) << "it owes no answer";
  qemu_.Send(0, EventLine("RESET"));
  ASSERT_TRUE(UntilReady());
}

TEST_F(MonitorHandshakeTest, AShutdownEndsARunningProbe) {
  Connect({});
  ASSERT_TRUE(UntilReady());
  connection_->Request(Question::kGuestAgent);
  connection_->Request(Question::kRunState);
  ASSERT_TRUE(UntilCommands(5));
  qemu_.Send(0, EventLine("SHUTDOWN"));
  ASSERT_TRUE(Until([this] { return events_.size() == 1; }));
  Pass(absl::Minutes(1));
  EXPECT_THAT(qemu_.Commands(0), SizeIs(5));
}

TEST_F(MonitorHandshakeTest, AnUnexpectedReplyIsIgnored) {
  Connect({.answer = false});
  ASSERT_TRUE(Until([this] { return connection_->greeted(); }));
  for (int i = 0; i < 8; ++i) qemu_.Send(0, "{\"return\": {\"status\": \"running\"}}\r\n");
  qemu_.Send(0, EventLine("STOP"));
  ASSERT_TRUE(Until([this] { return events_.size() == 1; }));
  EXPECT_FALSE(info_.has_value());
}

// A connection that is handed over to the next daemon, with what that must know of the questions.
class HandedConnectionTest : public MonitorHandshakeTest {
 protected:
  void ConnectUntilReady(const FakeMonitor& behavior = {}) {
    Connect(behavior);
    ASSERT_TRUE(UntilReady());
    ASSERT_THAT(qemu_.Commands(0), SizeIs(4));
  }
  void HandOver() {
    HandedRun handed;
    ASSERT_TRUE(connection_->HandOver(&handed));
    connection_ = std::make_unique<MonitorConnection>(
        loop_.get(), ReceivingSocket(std::move(handed.connection), &closer_), &budget_, nullptr,
        this);
    ASSERT_TRUE(connection_->ResumeFrom(handed.state).ok());
  }
};

TEST_F(HandedConnectionTest, NoCommandIsSentBeforeThePendingReply) {
  ConnectUntilReady();
  qemu_.SetBehavior(0, {.answer = false});
  connection_->Request(Question::kRunState);
  ASSERT_TRUE(UntilCommands(5));
  HandOver();
  Pass(absl::Minutes(1));
  EXPECT_THAT(qemu_.Commands(0), SizeIs(5)) << "two commands at a time may hang a QEMU that ends";
  qemu_.SetBehavior(0, {.status = "paused"});
  qemu_.Send(0, "{\"return\": {\"status\": \"running\"}}\r\n");
  ASSERT_TRUE(UntilCommands(6));
  ASSERT_TRUE(Until([this] { return !states_.empty(); }));
  EXPECT_THAT(states_, ElementsAre("paused")) << "the next daemon does not know the question";
}

TEST_F(HandedConnectionTest, APendingQueryOfTheRunStateIsSent) {
  ConnectUntilReady();
  connection_->Request(Question::kRunState);
  HandOver();
  ASSERT_TRUE(UntilCommands(5));
  EXPECT_TRUE(Until([this] { return states_.size() == 1; }));
}

TEST_F(HandedConnectionTest, APendingQueryOfTheAgentIsSent) {
  ConnectUntilReady();
  connection_->Request(Question::kGuestAgent);
  HandOver();
  ASSERT_TRUE(UntilCommands(5));
  EXPECT_TRUE(Until([this] {
    clock_.Advance(CommandPacer::kQuietTime);
    return agents_.size() == 1;
  }));
}

TEST_F(HandedConnectionTest, AnUnfinishedProbeForTheAgentBeginsAgain) {
  ConnectUntilReady();
  qemu_.SetBehavior(0, {.answer = false});
  connection_->Request(Question::kGuestAgent);
  ASSERT_TRUE(UntilCommands(5));
  HandOver();
  qemu_.SetBehavior(0, {});
  qemu_.Send(0, "{\"return\": []}\r\n");
  EXPECT_TRUE(Until([this] {
    clock_.Advance(CommandPacer::kQuietTime);
    return agents_.size() == 1;
  }));
}

}  // namespace
}  // namespace vmeventd
