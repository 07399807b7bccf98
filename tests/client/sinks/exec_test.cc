#include "client/sinks/exec.h"

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "client/sinks/cursor_file.h"
#include "client/sinks/delivery.h"
#include "client/sinks/event_variables.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/server_messages.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;

TEST(EventVariables, DescribeTheEvent) {
  v1::Event event = MakeEvent(42);
  event.set_type(v1::EVENT_TYPE_STOPPED);
  event.mutable_vm()->set_run_id("run-7");
  event.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
  event.mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_QEMU_KILLED);
  event.set_message(std::string("a\0b", 3));
  const auto list = EventVariables(event, {"node1", "prod"});
  std::map<std::string, std::string> variables(list.begin(), list.end());
  EXPECT_EQ(variables["VMEVENTS_TYPE"], "STOPPED");
  EXPECT_EQ(variables["VMEVENTS_VM"], "web1");
  EXPECT_EQ(variables["VMEVENTS_CLASS"], "CRASH");
  EXPECT_EQ(variables["VMEVENTS_CAUSE"], "QEMU_KILLED");
  EXPECT_EQ(variables["VMEVENTS_MAY_STILL_RUN"], "false");
  EXPECT_EQ(variables["VMEVENTS_RUN_ID"], "run-7");
  EXPECT_EQ(variables["VMEVENTS_SEQUENCE"], "42");
  EXPECT_EQ(variables["VMEVENTS_TIME"], "2026-07-01T12:00:00.123Z");
  EXPECT_EQ(variables["VMEVENTS_DURABLE"], "true");
  EXPECT_EQ(variables["VMEVENTS_MESSAGE"], "a\\x00b");
  EXPECT_EQ(variables["VMEVENTS_NODE"], "node1");
  EXPECT_EQ(variables["VMEVENTS_CLUSTER"], "prod");
  event.mutable_shutdown()->set_may_still_run(true);
  EXPECT_THAT(EventVariables(event, {}),
              testing::Contains(testing::Pair("VMEVENTS_MAY_STILL_RUN", "true")));
  event.clear_shutdown();
  EXPECT_THAT(EventVariables(event, {}),
              testing::Contains(testing::Pair("VMEVENTS_MAY_STILL_RUN", "")));
}

TEST(EventVariables, AreAllSetForEveryEvent) {
  EXPECT_EQ(EventVariables({}, {}).size(), EventVariables(MakeEvent(1), {"n"}).size());
}

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class CommandRunnerTest : public testing::Test {
 protected:
  // Runs the command for the events 1 to `newest`, with `results` in turn and then success.
  absl::Status Run(OnFailure on_failure, uint64_t newest, std::deque<absl::Status> results) {
    CommandRunner::Environment environment;
    environment.command = "handle";
    environment.on_failure = on_failure;
    environment.gaps = gaps_;
    environment.run = [this, results](const CommandCall& call) mutable {
      calls_.push_back(call);
      if (results.empty()) return absl::OkStatus();
      absl::Status result = results.front();
      results.pop_front();
      return result;
    };
    environment.wait = [this](absl::Duration pause) {
      pauses_.push_back(pause);
      return stop_;
    };
    environment.note = [this](const std::string& note) { notes_.push_back(note); };
    environment.random = [] { return 1.0; };
    CommandRunner runner(std::move(environment));
    auto cursor = CursorFile::Open(directory_ / "cursor", {"node1"});
    Delivery delivery({&runner, cursor->get(), {"node1"}});
    NodeEvents events;
    for (uint64_t sequence = 1; sequence <= newest; ++sequence) {
      events.push_back({MakeEvent(sequence), {"node1"}, {0, {sequence, "journal-a"}}});
      if (of_the_node_) events.back().event.clear_vm();
    }
    delivery.Deliver(std::move(events));
    position_ = (*cursor)->Find("node1");
    return delivery.status();
  }

  TemporaryDirectory directory_;
  std::vector<CommandCall> calls_;
  std::vector<absl::Duration> pauses_;
  std::vector<std::string> notes_;
  bool stop_ = false;
  bool gaps_ = true;
  bool of_the_node_ = false;  // the events concern the whole node, like GAPs
  std::optional<WatchPosition> position_;
};

const absl::Status kFailed = absl::AbortedError("ended with exit code 3");

TEST_F(CommandRunnerTest, RunsTheCommandForEachEventWithItsJson) {
  EXPECT_TRUE(Run(OnFailure::kStop, 2, {}).ok());
  ASSERT_THAT(calls_, SizeIs(2));
  EXPECT_EQ(calls_[0].command, "handle");
  EXPECT_THAT(calls_[1].input, HasSubstr("\"sequence\":\"2\""));
  EXPECT_EQ(calls_[1].input.back(), '\n');
  EXPECT_THAT(calls_[0].variables, testing::Contains(testing::Pair("VMEVENTS_NODE", "node1")));
  EXPECT_EQ(position_, (WatchPosition{2, "journal-a"}));
}

TEST_F(CommandRunnerTest, AnUnrequestedGapRunsNoCommand) {
  gaps_ = false;
  of_the_node_ = true;
  EXPECT_TRUE(Run(OnFailure::kStop, 2, {}).ok());
  EXPECT_THAT(calls_, IsEmpty());
  EXPECT_THAT(notes_, testing::Each(HasSubstr("GAP: ")));
  EXPECT_THAT(notes_, SizeIs(2));
  EXPECT_EQ(position_, (WatchPosition{2, "journal-a"}));
}

TEST_F(CommandRunnerTest, OnFailureStopLeavesTheCursorBeforeTheEvent) {
  const absl::Status status = Run(OnFailure::kStop, 3, {absl::OkStatus(), kFailed});
  EXPECT_EQ(status.message(), "the command ended with exit code 3 for event 2 (web1 STARTED)");
  EXPECT_THAT(calls_, SizeIs(2));
  EXPECT_EQ(position_, (WatchPosition{1, "journal-a"}));
}

TEST_F(CommandRunnerTest, OnFailureSkipContinuesAfterTheEvent) {
  EXPECT_TRUE(Run(OnFailure::kSkip, 2, {kFailed}).ok());
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("event 1 (web1 STARTED); skipping the event")));
  EXPECT_EQ(position_, (WatchPosition{2, "journal-a"}));
}

TEST_F(CommandRunnerTest, OnFailureRetryRunsTheCommandAgainAfterGrowingPauses) {
  EXPECT_TRUE(Run(OnFailure::kRetry, 1, {kFailed, kFailed}).ok());
  EXPECT_THAT(calls_, SizeIs(3));
  EXPECT_THAT(pauses_, ElementsAre(absl::Seconds(1), absl::Seconds(2)));
  EXPECT_EQ(position_, (WatchPosition{1, "journal-a"}));
}

TEST_F(CommandRunnerTest, OnFailureRetryGivesUpInTheEnd) {
  EXPECT_THAT(Run(OnFailure::kRetry, 1, std::deque<absl::Status>(99, kFailed)), Says("11 times"));
  EXPECT_THAT(pauses_, SizeIs(CommandRunner::kMaxRetries));
  EXPECT_EQ(pauses_.back(), CommandRunner::kLongestPause);
  EXPECT_EQ(position_, std::nullopt);
}

TEST_F(CommandRunnerTest, AStopDuringTheCommandOrBetweenAttemptsIsNoFailure) {
  EXPECT_TRUE(absl::IsCancelled(Run(OnFailure::kSkip, 2, {absl::CancelledError("stopped")})));
  EXPECT_THAT(notes_, IsEmpty());
  EXPECT_EQ(position_, std::nullopt);
  stop_ = true;
  EXPECT_TRUE(absl::IsCancelled(Run(OnFailure::kRetry, 1, {kFailed})));
  EXPECT_EQ(position_, std::nullopt);
}

}  // namespace
}  // namespace vmeventd::client
