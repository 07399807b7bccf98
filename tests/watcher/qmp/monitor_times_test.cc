// The time that a monitor may take for its greeting, its first answers and a line, by a clock that
// only the test moves.

#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/test_util.h"
#include "tests/watcher/qmp/monitor_fixture.h"
#include "watcher/qmp/monitor_connection.h"

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
TEST_F(MonitorHandshakeTest, OneCommandIsSentAtATimeAndNoneSoonerThanTheQuietTime) {
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

TEST_F(MonitorHandshakeTest, WhatTheCommandLineSaysIsNotAsked) {
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

TEST_P(QuietStartTest, AQemuIsAskedForItsCapabilitiesAloneAtFirst) {
  if (GetParam()) command_lines_.at_once = QemuArguments();
  Connect({});
  ASSERT_TRUE(UntilCommands(1));
  for (int i = 0; i < 3; ++i) loop_->RunOnce(absl::Milliseconds(10));
  Pass(MonitorConnection::kQuietStart - absl::Nanoseconds(1));
  EXPECT_THAT(qemu_.Commands(0), ElementsAre(HasSubstr("qmp_capabilities")));
  ASSERT_TRUE(UntilCommands(4));
}

TEST_F(MonitorHandshakeTest, OneWhoseVmComesFromElsewhereIsAskedAtOnce) {
  command_lines_.at_once = {.incoming = true};
  Connect({});
  ASSERT_TRUE(UntilCommands(1));
  const absl::Duration began = clock_.Now().monotonic;
  ASSERT_TRUE(UntilCommands(2));
  EXPECT_LT(clock_.Now().monotonic - began, MonitorConnection::kQuietStart);
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
  ASSERT_TRUE(Until([this] { return connection_->greeted(); }));
  for (int i = 0; i < 8; ++i) qemu_.Send(0, "{\"return\": {\"status\": \"running\"}}\r\n");
  qemu_.Send(0, EventLine("STOP"));
  ASSERT_TRUE(Until([this] { return events_.size() == 1; }));
  EXPECT_FALSE(info_.has_value());
}

}  // namespace
}  // namespace vmeventd
