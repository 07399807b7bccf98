// How long a monitor may take for its greeting and its first answers, and how long it may keep the
// loop, by a clock that only the test and the handling of lines move.

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/test_util.h"
#include "tests/watcher/qmp/monitor_fixture.h"
#include "watcher/qmp/monitor_connection.h"
#include "watcher/qmp/socket_file.h"

namespace vmeventd {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// Its reads are finished by the test, unless there is one that is finished at once.
class HeldCommandLines : public CommandLines {
 public:
  std::shared_ptr<const Read> Begin(int64_t) override {
    begun = std::make_shared<Read>();
    if (at_once.has_value()) begun->Finish(std::make_unique<QemuArguments>(*at_once));
    return begun;
  }

  std::optional<QemuArguments> at_once;
  std::shared_ptr<Read> begun;
};

class MonitorHandshakeTest : public MonitorFixture<ManualClock> {
 protected:
  void Connect(const FakeMonitor& behavior) {
    TestMonitor::Connect(loop_.get(), &budget_, &command_lines_, directory_.Path("m"), behavior,
                         absl::Seconds(3));
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

TEST_F(MonitorHandshakeTest, AGreetingThatDoesNotComeIsReportedOnceItsTimeIsOver) {
  Connect({.greet = false});
  Pass(absl::Seconds(3) - absl::Milliseconds(1));
  EXPECT_EQ(late_greetings_, 0);
  Pass(absl::Milliseconds(1));
  EXPECT_EQ(late_greetings_, 1);
  Pass(absl::Minutes(1));
  EXPECT_EQ(late_greetings_, 1);
  EXPECT_TRUE(connection_->open()) << "its owner decides";
}

TEST_F(MonitorHandshakeTest, AnswersThatDoNotComeAreReportedEachSecondForTenSeconds) {
  Connect({.answer = false});
  ASSERT_TRUE(Until([this] { return greetings_ == 1; }));
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

TEST_F(MonitorHandshakeTest, AMonitorThatAnsweredIsNotLate) {
  Connect({});
  ASSERT_TRUE(UntilReady());
  Pass(absl::Minutes(1));
  EXPECT_EQ(late_greetings_, 0);
  EXPECT_THAT(late_replies_, IsEmpty());
}

// By the test's own clock: a line may take no more than 10 s.
TEST_F(MonitorHandshakeTest, ReadsLinesThatComeInPieces) {
  FakeMonitor behavior{.split = true, .greeting = ""};
  Connect(behavior);
  const std::string greeting = FakeMonitor().greeting;
  for (size_t i = 0; i < greeting.size(); i += 10) {
    EXPECT_EQ(greetings_, 0);
    qemu_.Send(monitor_, greeting.substr(i, 10));
    loop_->RunOnce(absl::Milliseconds(10));
  }
  EXPECT_TRUE(UntilReady());
}

TEST_F(MonitorHandshakeTest, AConnectionThatIsClosedIsNotLate) {
  Connect({.greet = false});
  connection_->Close();
  Pass(absl::Minutes(1));
  EXPECT_EQ(late_greetings_, 0);
}

// QEMU may hang in its exit over commands that come close to each other: docs/qemu.md.
TEST_F(MonitorHandshakeTest, OneCommandIsSentAtATimeAndNoneSoonerThanTheQuietTime) {
  Connect({.answer = false});
  ASSERT_TRUE(Until([this] { return greetings_ == 1; }));
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

TEST_F(MonitorHandshakeTest, WhatTheCommandLineSaysIsNotAsked) {
  command_lines_.at_once = {.certain_name = "web1", .certain_uuid = "u"};
  Connect({});
  ASSERT_TRUE(UntilReady());
  EXPECT_THAT(qemu_.Commands(0),
              ElementsAre(HasSubstr("qmp_capabilities"), HasSubstr("query-status")));
  EXPECT_EQ(info_->qemu_name, "web1");
  EXPECT_EQ(info_->uuid, "u");
}

TEST_F(MonitorHandshakeTest, WhatTheCommandLineLeavesOpenIsAsked) {
  command_lines_.at_once = {.certain_name = "web1"};
  Connect({.uuid = "5"});
  ASSERT_TRUE(UntilReady());
  EXPECT_THAT(qemu_.Commands(0), ElementsAre(HasSubstr("qmp_capabilities"), HasSubstr("query-uuid"),
                                             HasSubstr("query-status")));
  EXPECT_EQ(info_->qemu_name, "web1");
  EXPECT_EQ(info_->uuid, "5");
}

TEST_F(MonitorHandshakeTest, AQemuIsAskedForItsCapabilitiesAloneAtFirst) {
  command_lines_.at_once = QemuArguments();
  Connect({});
  ASSERT_TRUE(UntilCommands(1));
  for (int i = 0; i < 3; ++i) loop_->RunOnce(absl::Milliseconds(10));
  Pass(MonitorConnection::kQuietStart - absl::Nanoseconds(1));
  EXPECT_THAT(qemu_.Commands(0), ElementsAre(HasSubstr("qmp_capabilities")));
  ASSERT_TRUE(UntilCommands(2));
}

TEST_F(MonitorHandshakeTest, OneWhoseVmComesFromElsewhereIsAskedAtOnce) {
  command_lines_.at_once = {.incoming = true};
  Connect({});
  ASSERT_TRUE(UntilCommands(1));
  const absl::Duration began = clock_.Now().monotonic;
  ASSERT_TRUE(UntilCommands(2));
  EXPECT_LT(clock_.Now().monotonic - began, MonitorConnection::kQuietStart);
}

TEST_F(MonitorHandshakeTest, ACommandLineThatCannotBeReadIsWaitedForNoLongerThanTheQuietStart) {
  Connect({});
  ASSERT_TRUE(UntilCommands(1));
  for (int i = 0; i < 3; ++i) loop_->RunOnce(absl::Milliseconds(10));
  Pass(MonitorConnection::kQuietStart - absl::Nanoseconds(1));
  EXPECT_THAT(qemu_.Commands(0), ElementsAre(HasSubstr("qmp_capabilities")));
  ASSERT_TRUE(UntilCommands(4));
  EXPECT_THAT(qemu_.Commands(0), ElementsAre(HasSubstr("qmp_capabilities"), HasSubstr("query-uuid"),
                                             HasSubstr("query-name"), HasSubstr("query-status")));
}

TEST_F(MonitorHandshakeTest, NothingIsAskedAfterAShutdownUntilTheVmLivesOn) {
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

TEST_F(MonitorHandshakeTest, AProbeThatIsUnderWayEndsWithAShutdown) {
  Connect({});
  ASSERT_TRUE(UntilReady());
  connection_->RequestGuestAgent();
  connection_->RequestRunState();
  ASSERT_TRUE(UntilCommands(5));
  qemu_.Send(0, EventLine("SHUTDOWN"));
  ASSERT_TRUE(Until([this] { return events_.size() == 1; }));
  Pass(absl::Minutes(1));
  EXPECT_THAT(qemu_.Commands(0), SizeIs(5));
}

TEST_F(MonitorHandshakeTest, AnAnswerThatNobodyAskedForIsIgnored) {
  Connect({.answer = false});
  ASSERT_TRUE(Until([this] { return greetings_ == 1; }));
  for (int i = 0; i < 8; ++i) qemu_.Send(0, "{\"return\": {\"status\": \"running\"}}\r\n");
  qemu_.Send(0, EventLine("STOP"));
  ASSERT_TRUE(Until([this] { return events_.size() == 1; }));
  EXPECT_FALSE(info_.has_value());
}

TEST(ConnectOutcomeTest, NamesWhatAnAttemptCameTo) {
  EXPECT_EQ(ConnectOutcomeOf(0), ConnectOutcome::kConnected);
  EXPECT_EQ(ConnectOutcomeOf(ENOTSOCK), ConnectOutcome::kNoSocket);
  EXPECT_EQ(ConnectOutcomeOf(ECONNREFUSED), ConnectOutcome::kRefused);
  EXPECT_EQ(ConnectOutcomeOf(EAGAIN), ConnectOutcome::kQueueFull);
  EXPECT_EQ(ConnectOutcomeOf(EMFILE), ConnectOutcome::kOutOfDescriptors);
  EXPECT_EQ(ConnectOutcomeOf(EACCES), ConnectOutcome::kFailed);
}

constexpr char kLine[] =
    "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"X\"}\r\n";
constexpr absl::Duration kCost = absl::Milliseconds(1);
// What fits into a slice, and the line at which it is seen that it is used up.
const int kLinesOfASlice = static_cast<int>(OwnerBudget::kSlice / kCost) + 1;

std::string Events(int count) {
  std::string events;
  for (int i = 0; i < count; ++i) events += kLine;
  return events;
}

// Each event that is handled takes `cost`.
class Monitor : public TestMonitor {
 public:
  Monitor(EventLoop* loop, ManualClock* clock, OwnerBudget* budget, const std::string& path,
          absl::Duration cost)
      : clock_(clock), cost_(cost) {
    Connect(loop, budget, nullptr, path);
  }

  // Is in the socket, or waits in the fake for room there, when it returns.
  void Send(int count) { qemu_.Send(monitor_, Events(count)); }
  void SendPart() { qemu_.Send(monitor_, std::string(kLine).substr(0, 10)); }
  void SendRest() { qemu_.Send(monitor_, std::string(kLine).substr(10)); }
  void StartDrain() { connection_->StartDrain(); }

  bool ready() const { return info_.has_value(); }
  int events() const { return static_cast<int>(events_.size()); }
  int cut_short() const { return cut_short_; }
  int drained() const { return drained_; }
  std::string closed() const { return closed_.value_or(""); }

 private:
  void OnEvent(const QmpEvent& event) override {
    RecordingDelegate::OnEvent(event);
    clock_->Advance(cost_);
  }

  ManualClock* const clock_;
  const absl::Duration cost_;
};

class MonitorSlicesTest : public testing::Test {
 protected:
  std::unique_ptr<Monitor> Connect(absl::Duration cost) {
    const std::string path = directory_.Path("m" + std::to_string(++monitors_));
    auto monitor = std::make_unique<Monitor>(loop_.get(), &clock_, &budget_, path, cost);
    EXPECT_TRUE(StepUntil(
        [this] {
          loop_->RunOnce(absl::Milliseconds(10));
          clock_.Advance(absl::Milliseconds(1));  // the commands of the handshake are spaced
        },
        [&] { return monitor->ready(); }));
    return monitor;
  }
  // One turn; time passes in it for what it handles, or a millisecond for nothing.
  void Turn() {
    const absl::Duration before = Now();
    loop_->RunOnce(absl::ZeroDuration());
    if (Now() == before) clock_.Advance(absl::Milliseconds(1));
  }
  absl::Duration Now() const { return clock_.Now().monotonic; }

  TempDir directory_;
  ManualClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  OwnerBudget budget_{loop_.get()};
  int monitors_ = 0;
};

TEST_F(MonitorSlicesTest, AFloodIsHandledInSlicesBetweenWhichItPauses) {
  constexpr int kFlood = 1000;
  const auto monitor = Connect(kCost);
  const absl::Duration began = Now();
  monitor->Send(kFlood);
  ASSERT_TRUE(StepUntil(
      [&] {
        const int before = monitor->events();
        Turn();
        ASSERT_LE(monitor->events() - before, kLinesOfASlice);
      },
      [&] { return monitor->events() == kFlood; }));
  const int parts = OwnerBudget::kPausePerWork;  // of the time, for one of work
  EXPECT_GE(Now() - began, kFlood * kCost * parts);
}

TEST_F(MonitorSlicesTest, ADrainIsHandledInSlicesToItsEnd) {
  constexpr int kFlood = 300;  // takes 1.2 s with its pauses
  const auto monitor = Connect(kCost);
  monitor->Send(kFlood);
  monitor->StartDrain();
  EXPECT_LE(monitor->events(), kLinesOfASlice);
  ASSERT_TRUE(StepUntil(
      [&] {
        const int before = monitor->events();
        Turn();
        ASSERT_LE(monitor->events() - before, kLinesOfASlice);
      },
      [&] { return monitor->drained() == 1; }));
  EXPECT_EQ(monitor->events(), kFlood);
  EXPECT_EQ(monitor->cut_short(), 0);
}

TEST_F(MonitorSlicesTest, ADrainThatTakesTooLongIsCutShort) {
  constexpr int kFlood = 2000;
  const auto monitor = Connect(kCost);
  monitor->Send(kFlood);
  const absl::Duration began = Now();
  monitor->StartDrain();
  ASSERT_TRUE(StepUntil([&] { Turn(); }, [&] { return monitor->drained() == 1; }));
  EXPECT_EQ(monitor->cut_short(), 1);
  EXPECT_LT(monitor->events(), kFlood);
  const absl::Duration slice = kLinesOfASlice * kCost;
  EXPECT_LE(Now() - began, MonitorConnection::kMaxDrainTime +
                               slice * (1 + OwnerBudget::kPausePerWork) + absl::Milliseconds(1));
}

TEST_F(MonitorSlicesTest, ALineHasToEndInTime) {
  const auto in_time = Connect(absl::ZeroDuration());
  const auto late = Connect(absl::ZeroDuration());
  in_time->SendPart();
  late->SendPart();
  ASSERT_TRUE(StepUntil([&] { Turn(); }, [&] { return budget_.held() > 20; }));
  clock_.Advance(MonitorConnection::kLineTimeout - absl::Seconds(1));
  in_time->SendRest();
  ASSERT_TRUE(StepUntil([&] { Turn(); }, [&] { return in_time->events() == 1; }));
  in_time->SendPart();
  Turn();
  clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(StepUntil([&] { Turn(); }, [&] { return !late->closed().empty(); }));
  EXPECT_EQ(late->closed(), "a line that has not ended after 10 s");
  EXPECT_EQ(in_time->closed(), "");
}

TEST_F(MonitorSlicesTest, BesideFiveFloodsAnEventIsHandledWithin50Milliseconds) {
  std::array<std::unique_ptr<Monitor>, 5> hostile;
  for (auto& monitor : hostile) monitor = Connect(kCost);
  const auto honest = Connect(absl::ZeroDuration());
  for (const auto& monitor : hostile) monitor->Send(2000);
  absl::Duration latest;
  for (int round = 1; round <= 50; ++round) {
    for (int i = 0; i < 7; ++i) Turn();
    honest->Send(1);
    const absl::Duration sent = Now();
    ASSERT_TRUE(StepUntil([&] { Turn(); }, [&] { return honest->events() == round; }));
    latest = std::max(latest, Now() - sent);
  }
  EXPECT_LE(latest, absl::Milliseconds(50));
  for (const auto& monitor : hostile) EXPECT_GT(monitor->events(), 10) << "it is served, too";
}

}  // namespace
}  // namespace vmeventd
