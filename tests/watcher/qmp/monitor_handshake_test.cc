// How long a monitor may take for its greeting and for its first answers.

#include <cerrno>
#include <functional>
#include <memory>
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
using testing::IsEmpty;
using testing::SizeIs;

class MonitorHandshakeTest : public testing::Test, public MonitorConnection::Delegate {
 protected:
  void OnGreeting() override { ++greetings_; }
  void OnGreetingLate(bool given_up) override { late_greetings_.push_back(given_up); }
  void OnReplyLate(bool given_up) override { late_replies_.push_back(given_up); }
  void OnReady(const MonitorInfo&) override { ready_ = true; }
  void OnEvent(const QmpEvent&) override {}
  void OnRunStateReply(absl::string_view) override {}
  void OnGuestAgentReply(const GuestAgentInfo&) override {}
  void OnDrainCutShort() override {}
  void OnDrained() override {}
  void OnClosed(absl::string_view, bool) override {}

  void Connect(const FakeMonitor& behavior, absl::Duration greeting_timeout) {
    qemu_.AddMonitor(directory_.Path("m"), behavior);
    SocketFile file;
    UniqueFd socket;
    ASSERT_EQ(OpenSocketFile(directory_.Path("m"), &file), 0);
    ASSERT_EQ(ConnectTo(file, &socket), 0);
    connection_ = std::make_unique<MonitorConnection>(
        loop_.get(), ReceivingSocket(std::move(socket), &closer_), &buffer_, this);
    ASSERT_TRUE(connection_->Start(greeting_timeout).ok());
  }
  bool Until(const std::function<bool()>& done) {
    return StepUntil([this] { loop_->RunOnce(absl::Milliseconds(10)); }, done);
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
  std::vector<char> buffer_ = std::vector<char>(64 << 10);
  std::unique_ptr<MonitorConnection> connection_;
  int greetings_ = 0;
  std::vector<bool> late_greetings_;
  std::vector<bool> late_replies_;
  bool ready_ = false;
};

TEST_F(MonitorHandshakeTest, AGreetingThatDoesNotComeIsReportedEarlyAndWhenItsTimeIsOver) {
  Connect({.greet = false}, absl::Seconds(3));
  Pass(MonitorConnection::kSilence - absl::Milliseconds(1));
  EXPECT_THAT(late_greetings_, IsEmpty());
  Pass(absl::Milliseconds(1));
  EXPECT_THAT(late_greetings_, ElementsAre(false));
  Pass(absl::Seconds(3) - MonitorConnection::kSilence - absl::Milliseconds(1));
  EXPECT_THAT(late_greetings_, ElementsAre(false));
  Pass(absl::Milliseconds(1));
  EXPECT_THAT(late_greetings_, ElementsAre(false, true));
  Pass(absl::Minutes(1));
  EXPECT_THAT(late_greetings_, SizeIs(2));
  EXPECT_TRUE(connection_->open()) << "its owner decides";
}

TEST_F(MonitorHandshakeTest, AGreetingWithLittleTimeIsReportedOnce) {
  Connect({.greet = false}, MonitorConnection::kSilence / 2);
  Pass(absl::Minutes(1));
  EXPECT_THAT(late_greetings_, ElementsAre(true));
}

TEST_F(MonitorHandshakeTest, AnswersThatDoNotComeAreReportedEachSecondForTenSeconds) {
  Connect({.answer = false}, absl::Seconds(3));
  ASSERT_TRUE(Until([this] { return greetings_ == 1; }));
  for (int second = 1; second < 10; ++second) {
    Pass(absl::Seconds(1));
    ASSERT_THAT(late_replies_, SizeIs(second));
  }
  EXPECT_THAT(late_replies_, Each(false));
  Pass(absl::Seconds(1));
  EXPECT_TRUE(late_replies_.back());
  Pass(absl::Minutes(1));
  EXPECT_THAT(late_replies_, SizeIs(10));
  EXPECT_THAT(late_greetings_, IsEmpty());
}

TEST_F(MonitorHandshakeTest, AMonitorThatAnsweredIsNotLate) {
  Connect({}, absl::Seconds(3));
  ASSERT_TRUE(Until([this] { return ready_; }));
  Pass(absl::Minutes(1));
  EXPECT_THAT(late_greetings_, IsEmpty());
  EXPECT_THAT(late_replies_, IsEmpty());
}

TEST_F(MonitorHandshakeTest, AConnectionThatIsClosedIsNotLate) {
  Connect({.greet = false}, absl::Seconds(3));
  connection_->Close();
  Pass(absl::Minutes(1));
  EXPECT_THAT(late_greetings_, IsEmpty());
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
