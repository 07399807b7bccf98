// How long a monitor may take for its greeting and for its first answers.

#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/test_util.h"
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

class MonitorHandshakeTest : public testing::Test, public MonitorConnection::Delegate {
 protected:
  void OnSpeaker(int64_t) override {}
  void OnGreeting() override { ++greetings_; }
  void OnGreetingLate() override { ++late_greetings_; }
  void OnReplyLate(bool given_up) override { late_replies_.push_back(given_up); }
  void OnReady(const MonitorInfo& info) override { ready_ = info; }
  void OnEvent(const QmpEvent&) override { ++events_; }
  void OnRunStateReply(absl::string_view) override { ++states_; }
  void OnGuestAgentReply(const GuestAgentInfo&) override {}
  void OnDrainCutShort() override {}
  void OnDrained() override {}
  uint64_t OnNotesBegin() override { return 1; }
  void OnHandled(ReadNotes::Stream* /*notes*/, uint64_t /*handled*/) override {}
  void OnClosed(absl::string_view, bool) override {}

  void Connect(const FakeMonitor& behavior, absl::Duration greeting_timeout) {
    qemu_.AddMonitor(directory_.Path("m"), behavior);
    SocketFile file;
    UniqueFd socket;
    ASSERT_EQ(OpenSocketFile(directory_.Path("m"), &file), 0);
    ASSERT_EQ(ConnectTo(file, &socket), 0);
    connection_ = std::make_unique<MonitorConnection>(
        loop_.get(), ReceivingSocket(std::move(socket), &closer_), &budget_, &command_lines_, this);
    ASSERT_TRUE(connection_->Start(greeting_timeout).ok());
  }
  bool Until(const std::function<bool()>& done) {
    return StepUntil([this] { loop_->RunOnce(absl::Milliseconds(10)); }, done);
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

  TempDir directory_;
  FakeQemu qemu_;
  ManualClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  SocketCloser closer_;
  HeldCommandLines command_lines_;
  OwnerBudget budget_{loop_.get()};
  std::unique_ptr<MonitorConnection> connection_;
  int greetings_ = 0;
  int late_greetings_ = 0;
  std::vector<bool> late_replies_;
  std::optional<MonitorInfo> ready_;
  int events_ = 0;
  int states_ = 0;
};

TEST_F(MonitorHandshakeTest, AGreetingThatDoesNotComeIsReportedOnceItsTimeIsOver) {
  Connect({.greet = false}, absl::Seconds(3));
  Pass(absl::Seconds(3) - absl::Milliseconds(1));
  EXPECT_EQ(late_greetings_, 0);
  Pass(absl::Milliseconds(1));
  EXPECT_EQ(late_greetings_, 1);
  Pass(absl::Minutes(1));
  EXPECT_EQ(late_greetings_, 1);
  EXPECT_TRUE(connection_->open()) << "its owner decides";
}

TEST_F(MonitorHandshakeTest, AnswersThatDoNotComeAreReportedEachSecondForTenSeconds) {
  Connect({.answer = false}, absl::Seconds(3));
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
  Connect({}, absl::Seconds(3));
  ASSERT_TRUE(Until([this] {
    clock_.Advance(CommandPacer::kQuietTime);
    return ready_.has_value();
  }));
  Pass(absl::Minutes(1));
  EXPECT_EQ(late_greetings_, 0);
  EXPECT_THAT(late_replies_, IsEmpty());
}

TEST_F(MonitorHandshakeTest, AConnectionThatIsClosedIsNotLate) {
  Connect({.greet = false}, absl::Seconds(3));
  connection_->Close();
  Pass(absl::Minutes(1));
  EXPECT_EQ(late_greetings_, 0);
}

// QEMU may hang in its exit over commands that come close to each other: docs/qemu.md.
TEST_F(MonitorHandshakeTest, OneCommandIsSentAtATimeAndNoneSoonerThanTheQuietTime) {
  Connect({.answer = false}, absl::Seconds(3));
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
  Connect({}, absl::Seconds(3));
  ASSERT_TRUE(Until([this] {
    clock_.Advance(CommandPacer::kQuietTime);
    return ready_.has_value();
  }));
  EXPECT_THAT(qemu_.Commands(0),
              ElementsAre(HasSubstr("qmp_capabilities"), HasSubstr("query-status")));
  EXPECT_EQ(ready_->qemu_name, "web1");
  EXPECT_EQ(ready_->uuid, "u");
}

TEST_F(MonitorHandshakeTest, WhatTheCommandLineLeavesOpenIsAsked) {
  command_lines_.at_once = {.certain_name = "web1"};
  Connect({.uuid = "5"}, absl::Seconds(3));
  ASSERT_TRUE(Until([this] {
    clock_.Advance(CommandPacer::kQuietTime);
    return ready_.has_value();
  }));
  EXPECT_THAT(qemu_.Commands(0), ElementsAre(HasSubstr("qmp_capabilities"), HasSubstr("query-uuid"),
                                             HasSubstr("query-status")));
  EXPECT_EQ(ready_->qemu_name, "web1");
  EXPECT_EQ(ready_->uuid, "5");
}

TEST_F(MonitorHandshakeTest, AQemuIsAskedForItsCapabilitiesAloneAtFirst) {
  command_lines_.at_once = QemuArguments();
  Connect({}, absl::Seconds(3));
  ASSERT_TRUE(UntilCommands(1));
  for (int i = 0; i < 3; ++i) loop_->RunOnce(absl::Milliseconds(10));
  Pass(MonitorConnection::kQuietStart - absl::Nanoseconds(1));
  EXPECT_THAT(qemu_.Commands(0), ElementsAre(HasSubstr("qmp_capabilities")));
  ASSERT_TRUE(UntilCommands(2));
}

TEST_F(MonitorHandshakeTest, OneWhoseVmComesFromElsewhereIsAskedAtOnce) {
  command_lines_.at_once = {.incoming = true};
  Connect({}, absl::Seconds(3));
  ASSERT_TRUE(UntilCommands(1));
  const absl::Duration began = clock_.Now().monotonic;
  ASSERT_TRUE(UntilCommands(2));
  EXPECT_LT(clock_.Now().monotonic - began, MonitorConnection::kQuietStart);
}

TEST_F(MonitorHandshakeTest, ACommandLineThatCannotBeReadIsWaitedForNoLongerThanTheQuietStart) {
  Connect({}, absl::Seconds(3));
  ASSERT_TRUE(UntilCommands(1));
  for (int i = 0; i < 3; ++i) loop_->RunOnce(absl::Milliseconds(10));
  Pass(MonitorConnection::kQuietStart - absl::Nanoseconds(1));
  EXPECT_THAT(qemu_.Commands(0), ElementsAre(HasSubstr("qmp_capabilities")));
  ASSERT_TRUE(UntilCommands(4));
  EXPECT_THAT(qemu_.Commands(0), ElementsAre(HasSubstr("qmp_capabilities"), HasSubstr("query-uuid"),
                                             HasSubstr("query-name"), HasSubstr("query-status")));
}

TEST_F(MonitorHandshakeTest, NothingIsAskedAfterAShutdownUntilTheVmLivesOn) {
  Connect({}, absl::Seconds(3));
  ASSERT_TRUE(UntilCommands(2));
  qemu_.Send(0, EventLine("SHUTDOWN"));
  ASSERT_TRUE(Until([this] { return events_ == 1; }));
  Pass(absl::Minutes(1));
  EXPECT_THAT(qemu_.Commands(0), SizeIs(2));
  EXPECT_THAT(late_replies_, IsEmpty()) << "it owes no answer";
  qemu_.Send(0, EventLine("RESET"));
  ASSERT_TRUE(Until([this] {
    clock_.Advance(CommandPacer::kQuietTime);
    return ready_.has_value();
  }));
}

TEST_F(MonitorHandshakeTest, AProbeThatIsUnderWayEndsWithAShutdown) {
  Connect({}, absl::Seconds(3));
  ASSERT_TRUE(Until([this] {
    clock_.Advance(CommandPacer::kQuietTime);
    return ready_.has_value();
  }));
  connection_->RequestGuestAgent();
  connection_->RequestRunState();
  ASSERT_TRUE(UntilCommands(5));
  qemu_.Send(0, EventLine("SHUTDOWN"));
  ASSERT_TRUE(Until([this] { return events_ == 1; }));
  Pass(absl::Minutes(1));
  EXPECT_THAT(qemu_.Commands(0), SizeIs(5));
}

TEST_F(MonitorHandshakeTest, AnAnswerThatNobodyAskedForIsIgnored) {
  Connect({.answer = false}, absl::Seconds(3));
  ASSERT_TRUE(Until([this] { return greetings_ == 1; }));
  for (int i = 0; i < 8; ++i) qemu_.Send(0, "{\"return\": {\"status\": \"running\"}}\r\n");
  qemu_.Send(0, EventLine("STOP"));
  ASSERT_TRUE(Until([this] { return events_ == 1; }));
  EXPECT_FALSE(ready_.has_value());
}

TEST(ConnectOutcomeTest, NamesWhatAnAttemptCameTo) {
  EXPECT_EQ(ConnectOutcomeOf(0), ConnectOutcome::kConnected);
  EXPECT_EQ(ConnectOutcomeOf(ENOTSOCK), ConnectOutcome::kNoSocket);
  EXPECT_EQ(ConnectOutcomeOf(ECONNREFUSED), ConnectOutcome::kRefused);
  EXPECT_EQ(ConnectOutcomeOf(EAGAIN), ConnectOutcome::kQueueFull);
  EXPECT_EQ(ConnectOutcomeOf(EMFILE), ConnectOutcome::kOutOfDescriptors);
  EXPECT_EQ(ConnectOutcomeOf(EACCES), ConnectOutcome::kFailed);
}

}  // namespace
}  // namespace vmeventd
