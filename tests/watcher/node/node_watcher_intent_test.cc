// Intents that come from other threads.

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/qmp_lines.h"
#include "tests/watcher/node/restart_test.h"
#include "watcher/core/proto_time.h"
#include "watcher/node/intent_requests.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

class NodeWatcherIntentTest : public RestartTest {
 protected:
  // What `done` was called with.
  struct Outcome {
    int calls = 0;
    absl::StatusOr<v1::Intent> intent = absl::UnknownError("not called");
  };

  static IntentRequest Of(const std::string& vm, const std::string& id = "id-1",
                          const std::string& run_id = "") {
    return {vm, run_id, id, "ops", "upgrade", absl::Minutes(10), ""};
  }
  void Ask(const IntentRequest& request, Outcome* outcome) {
    watcher_->DeclareIntent(request, [outcome](absl::StatusOr<v1::Intent> intent) {
      ++outcome->calls;
      outcome->intent = std::move(intent);
    });
  }
  // Asks, and records the answer in the sink.
  absl::StatusOr<v1::Intent> Declare(const IntentRequest& request) {
    Outcome outcome;
    Ask(request, &outcome);
    Turn();
    TellAll();
    EXPECT_EQ(outcome.calls, 1);
    return outcome.intent;
  }
  absl::Status Withdraw(const std::string& id) {
    absl::Status result = absl::UnknownError("not called");
    watcher_->WithdrawIntent(id, [&result](const absl::Status& status) { result = status; });
    Turn();
    TellAll();
    return result;
  }
  // The sink publishes what it has.
  void TellAll() {
    for (; told_ < sink_.entries().size(); ++told_) {
      const VmUpdate& update = sink_.entries()[told_].update;
      if (update.on_public != nullptr) update.on_public();
    }
  }
  void StartOne(FakeQemu* qemu) {
    Follow(qemu);
    ASSERT_TRUE(UntilScanned());
  }

  size_t told_ = 0;
};

TEST_F(NodeWatcherIntentTest, ARequestIsAnsweredOnceTheIntentIsPublic) {
  StartOne(&qemu_);
  Outcome outcome;
  Ask(Of("vm1"), &outcome);
  Turn();
  ASSERT_EQ(sink_.Count(EventType::kIntentDeclared), 1);
  EXPECT_EQ(outcome.calls, 0);
  TellAll();
  ASSERT_EQ(outcome.calls, 1);
  ASSERT_TRUE(outcome.intent.ok()) << outcome.intent.status();
  EXPECT_EQ(outcome.intent->intent_id(), "id-1");
  EXPECT_EQ(FromTimestamp(outcome.intent->expire_time()),
            FromTimestamp(sink_.Latest("vm1")->intent().expire_time()));
  EXPECT_THAT(SavedRun(), HasSubstr("upgrade"));
}

TEST_F(NodeWatcherIntentTest, ARunWhoseProcessHasEndedTakesNoIntent) {
  StartOne(&qemu_);
  Outcome outcome;
  qemu_.KillAndReap();
  Ask(Of("vm1"), &outcome);  // handled in the turn that may not have seen the end yet
  Turn();
  TellAll();
  EXPECT_TRUE(absl::IsNotFound(outcome.intent.status())) << outcome.intent.status();
  ExpectStopped(ShutdownClass::kUnknown, "killed-unseen");
}

// The end of a run that lived then may be published, but not be public yet.
TEST_F(NodeWatcherIntentTest, NotFoundIsReturnedOnceAllEndsArePublic) {
  StartOne(&qemu_);
  IntentRequest request = Of("vm2");
  request.started_before = absl::Now();
  Outcome outcome;
  Ask(request, &outcome);
  Turn();
  EXPECT_EQ(outcome.calls, 0);
  TellAll();
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_TRUE(absl::IsNotFound(outcome.intent.status())) << outcome.intent.status();
}

TEST_F(NodeWatcherIntentTest, AShutdownThatQemuSentBeforeTheIntentCounts) {
  const int monitor = FollowWithManualClock();  // however long it takes to read
  ASSERT_TRUE(UntilScanned());
  qemu_.Send(monitor, kGuestShutdownLine);
  const absl::Status late = Declare(Of("vm1")).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(late)) << late;
  EXPECT_THAT(std::string(late.message()), HasSubstr("guest-poweroff"));
  EXPECT_EQ(sink_.Count(EventType::kIntentDeclared), 0);
  ASSERT_EQ(sink_.Count(EventType::kIntentLate), 1);
  EXPECT_TRUE(sink_.Last(EventType::kIntentLate)->update.saved_run.has_value())
      << "the run is saved with the sequence of its last event";
  EXPECT_FALSE(sink_.Latest("vm1")->has_intent());
  qemu_.Exit();
  ExpectStopped(ShutdownClass::kUser, "guest-poweroff");
  EXPECT_FALSE(Stopped().has_intent());
}

// A retry or a notification that comes late must not be for the VM's next run.
TEST_F(NodeWatcherIntentTest, AnIntentForAnEarlierRunIsNotForTheNext) {
  qemu_.Unlink(Follow(&qemu_));
  ASSERT_TRUE(UntilScanned());
  const absl::Time began = absl::Now();
  qemu_.KillAndReap();
  ExpectStopped(ShutdownClass::kUnknown, "killed-unseen");
  // The start of a process is known in ticks.
  ASSERT_TRUE(Until([ticks = StartTicksNow()] { return StartTicksNow() > ticks + 1; }));
  FakeQemu next;
  Follow(&next);
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  IntentRequest request = Of("vm1");
  request.started_before = began;
  const absl::Status later = Declare(request).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(later)) << later;
  EXPECT_THAT(std::string(later.message()), HasSubstr("after the operation began"));
  EXPECT_EQ(sink_.Count(EventType::kIntentDeclared), 0);
  request.started_before = absl::Now() + absl::Seconds(1);
  EXPECT_TRUE(Declare(request).ok());
  request.vm_name = "vm2";
  EXPECT_TRUE(absl::IsNotFound(Declare(request).status()));
}

TEST_F(NodeWatcherIntentTest, AnIntentForAStoppedRunIsPublishedAsLate) {
  StartOne(&qemu_);
  IntentRequest request = Of("vm1");
  request.started_before = absl::Now();
  request.ended = sink_.Latest("vm1")->ref();
  qemu_.KillAndReap();
  ExpectStopped(ShutdownClass::kUnknown, "killed-unseen");
  const absl::Status late = Declare(request).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(late)) << late;
  EXPECT_THAT(std::string(late.message()), HasSubstr(request.ended->run_id()));
  const std::vector<RecordingSink::Entry>& entries = sink_.entries();
  const v1::Event& event = *entries.back().update.event;
  EXPECT_EQ(event.type(), EventType::kIntentLate);
  EXPECT_EQ(event.vm().run_id(), request.ended->run_id());
  EXPECT_EQ(event.intent().actor(), "ops");
  EXPECT_FALSE(entries.back().update.status.has_value());
}

TEST_F(NodeWatcherIntentTest, AnIntentSurvivesARestart) {
  StartOne(&qemu_);
  ASSERT_TRUE(Declare(Of("vm1")).ok());
  Restart();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  ASSERT_TRUE(UntilScanned());
  IntentRequest other = Of("vm1", "id-2");
  other.actor = "other";
  EXPECT_TRUE(absl::IsAlreadyExists(Declare(other).status()));
  EXPECT_TRUE(Withdraw("id-1").ok());
  EXPECT_TRUE(Declare(Of("vm1", "id-2")).ok());
  Die();
  qemu_.KillAndReap();
  Restart();
  ExpectStopped(ShutdownClass::kAdmin, "unobserved");
  EXPECT_EQ(Stopped().intent().intent_id(), "id-2");
  EXPECT_TRUE(absl::IsNotFound(Withdraw("id-2"))) << "it ended with the run";
}

TEST_F(NodeWatcherIntentTest, ARequestWaitsForTheFirstScan) {
  qemu_.AddMonitor(Socket("vm1"));
  Start();
  Outcome outcome;
  Ask(Of("vm2"), &outcome);
  EXPECT_EQ(outcome.calls, 0);
  ASSERT_TRUE(UntilScanned());
  ASSERT_TRUE(Until([&] { return outcome.calls == 1; }));
  EXPECT_TRUE(absl::IsNotFound(outcome.intent.status()));
}

TEST_F(NodeWatcherIntentTest, RequestsBeyondTheQueueAreRefused) {
  Start();
  std::vector<Outcome> outcomes(kMaxIntentRequests + 1);
  for (Outcome& outcome : outcomes) Ask(Of("vm1"), &outcome);
  EXPECT_EQ(outcomes.front().calls, 0);
  EXPECT_EQ(outcomes.back().intent.status().code(), absl::StatusCode::kResourceExhausted);
  Turn();
  ASSERT_TRUE(UntilScanned());
  EXPECT_TRUE(absl::IsNotFound(outcomes.front().intent.status()));
  EXPECT_TRUE(absl::IsNotFound(Declare(Of("vm1")).status())) << "there is room again";
}

TEST_F(NodeWatcherIntentTest, RequestsThatWaitAreAnsweredAsTheWatcherEnds) {
  Start();
  Outcome declared;
  Ask(Of("vm1"), &declared);
  absl::Status withdrawn;
  watcher_->WithdrawIntent("id-1", [&](const absl::Status& status) { withdrawn = status; });
  watcher_.reset();
  EXPECT_EQ(declared.calls, 1);
  EXPECT_TRUE(absl::IsUnavailable(declared.intent.status()));
  EXPECT_TRUE(absl::IsUnavailable(withdrawn));
}

}  // namespace
}  // namespace vmeventd
