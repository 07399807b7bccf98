// Intents that come from other threads.

#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/qmp/restart_fixture.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

class NodeWatcherIntentTest : public RestartTest {
 protected:
  // What `done` was called with.
  struct Outcome {
    int calls = 0;
    absl::StatusOr<Intent> intent = absl::UnknownError("not called");
  };

  void Ask(const std::string& vm, Outcome* outcome, const std::string& id = "id-1",
           const std::string& run_id = "", absl::Duration ttl = absl::Minutes(10),
           const std::string& request_id = "") {
    watcher_->DeclareIntent({vm, run_id, id, "ops", "upgrade", ttl, request_id},
                            [outcome](absl::StatusOr<Intent> intent) {
                              ++outcome->calls;
                              outcome->intent = std::move(intent);
                            });
  }
  // Asks, and records the answer in the sink.
  absl::StatusOr<Intent> Declare(const std::string& vm, const std::string& id = "id-1",
                                 const std::string& run_id = "",
                                 absl::Duration ttl = absl::Minutes(10),
                                 const std::string& request_id = "") {
    Outcome outcome;
    Ask(vm, &outcome, id, run_id, ttl, request_id);
    Turn();
    TellAll();
    EXPECT_EQ(outcome.calls, 1);
    return outcome.intent;
  }
  absl::Status Withdraw(const std::string& id) {
    absl::Status said = absl::UnknownError("not called");
    watcher_->WithdrawIntent(id, [&said](const absl::Status& status) { said = status; });
    Turn();
    TellAll();
    return said;
  }
  // The sink makes public what it has.
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

TEST_F(NodeWatcherIntentTest, NamesAVmByItsUuid) {
  FakeMonitor monitor{.uuid = "550e8400-e29b-41d4-a716-446655440000"};
  qemu_.AddMonitor(Socket("vm1"), monitor);
  Start();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  ASSERT_TRUE(UntilScanned());
  const auto declare = [&](const std::string& name, const std::string& uuid) {
    Outcome outcome;
    IntentRequest request = {name, "", "id-1", "ops", "upgrade", absl::Minutes(10), ""};
    request.uuid = ParseUuid(uuid);
    watcher_->DeclareIntent(
        request, [&](absl::StatusOr<Intent> intent) { outcome.intent = std::move(intent); });
    Turn();
    TellAll();
    return outcome.intent;
  };
  EXPECT_EQ(declare("", "00000000-e29b-41d4-a716-446655440000").status().message(),
            "uuid: no VM with that UUID runs");
  EXPECT_EQ(declare("vm2", monitor.uuid).status().message(),
            "uuid: no VM named \"vm2\" with that UUID runs");
  EXPECT_TRUE(declare("", monitor.uuid).ok());
}

TEST_F(NodeWatcherIntentTest, IsAnsweredWhenItIsPublic) {
  StartOne(&qemu_);
  Outcome outcome;
  Ask("vm1", &outcome);
  Turn();
  ASSERT_EQ(sink_.Count(EventType::kIntentDeclared), 1);
  EXPECT_EQ(outcome.calls, 0);
  TellAll();
  ASSERT_EQ(outcome.calls, 1);
  ASSERT_TRUE(outcome.intent.ok()) << outcome.intent.status();
  EXPECT_EQ(outcome.intent->intent_id, "id-1");
  EXPECT_EQ(outcome.intent->expire_time, sink_.Latest("vm1")->intent->expire_time);
  EXPECT_THAT(KeptRun(), HasSubstr("upgrade"));
}

TEST_F(NodeWatcherIntentTest, MakesAKillAnAdminsWish) {
  StartOne(&qemu_);
  WriteFile(ShutdownFile("vm1"));
  ASSERT_TRUE(Declare("vm1").ok());
  KillUntilStopped(&qemu_);
  ExpectStopped(ShutdownClass::kAdmin, "qemu-killed");
  EXPECT_EQ(Stopped().intent->actor, "ops");
  EXPECT_FALSE(FileExists(ShutdownFile("vm1")));
  EXPECT_TRUE(absl::IsNotFound(Withdraw("id-1"))) << "it ended with the run";
}

TEST_F(NodeWatcherIntentTest, AGuestsPoweroffUnderItLeavesNoShutdownFile) {
  const int monitor = Follow(&qemu_);
  ASSERT_TRUE(UntilScanned());
  ASSERT_TRUE(Declare("vm1").ok());
  qemu_.SendAndExit(monitor, kGuestShutdownLine);
  ExpectStopped(ShutdownClass::kAdmin, "guest-poweroff");
  EXPECT_FALSE(FileExists(ShutdownFile("vm1")));
}

TEST_F(NodeWatcherIntentTest, ASecondOneIsRefusedAndNamesTheFirst) {
  StartOne(&qemu_);
  ASSERT_TRUE(Declare("vm1", "first").ok());
  const absl::Status second = Declare("vm1", "second").status();
  EXPECT_TRUE(absl::IsAlreadyExists(second));
  EXPECT_THAT(std::string(second.message()), HasSubstr("first"));
  EXPECT_TRUE(Withdraw("first").ok());
  EXPECT_EQ(sink_.Count(EventType::kIntentWithdrawn), 1);
  EXPECT_TRUE(absl::IsNotFound(Withdraw("first")));
  EXPECT_TRUE(Declare("vm1", "second").ok());
}

TEST_F(NodeWatcherIntentTest, ARetryFindsItsOwnIntent) {
  StartOne(&qemu_);
  const auto first = Declare("vm1", "id-1", "", absl::Minutes(10), "request");
  ASSERT_TRUE(first.ok());
  const auto again = Declare("vm1", "id-2", "", absl::Minutes(20), "request");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->intent_id, "id-1");
  EXPECT_EQ(again->expire_time, first->expire_time);
  EXPECT_EQ(sink_.Count(EventType::kIntentDeclared), 1);
  EXPECT_TRUE(
      absl::IsAlreadyExists(Declare("vm1", "id-3", "", absl::Minutes(10), "another").status()));
  Outcome another_reason;
  watcher_->DeclareIntent({"vm1", "", "id-4", "ops", "another", absl::Minutes(1), "request"},
                          [&](absl::StatusOr<Intent> intent) {
                            another_reason = {1, std::move(intent)};
                          });
  Turn();
  EXPECT_TRUE(absl::IsAlreadyExists(another_reason.intent.status()));
  EXPECT_THAT(std::string(another_reason.intent.status().message()), HasSubstr("request_id"));
}

TEST_F(NodeWatcherIntentTest, UnknownVmsAndRunsAreNotFound) {
  StartOne(&qemu_);
  const absl::Status no_vm = Declare("vm2").status();
  EXPECT_TRUE(absl::IsNotFound(no_vm));
  EXPECT_EQ(no_vm.message(), "vm_name: no VM named \"vm2\" runs");
  EXPECT_TRUE(absl::IsNotFound(Declare("vm1", "id-1", "another run").status()));
  EXPECT_TRUE(Declare("vm1", "id-1", RunId("vm1")).ok());
  EXPECT_TRUE(absl::IsNotFound(Withdraw("never")));
}

TEST_F(NodeWatcherIntentTest, ARunWhoseProcessHasEndedRunsNoMore) {
  StartOne(&qemu_);
  Outcome outcome;
  qemu_.KillAndReap();
  Ask("vm1", &outcome);  // handled in the turn that may not have seen the end yet
  Turn();
  TellAll();
  EXPECT_TRUE(absl::IsNotFound(outcome.intent.status())) << outcome.intent.status();
  ExpectStopped(ShutdownClass::kCrash, "qemu-killed");
}

TEST_F(NodeWatcherIntentTest, WhatQemuHasSaidBeforeCameFirst) {
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  StartWithManualClock();  // however long it takes to read
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  ASSERT_TRUE(UntilScanned());
  qemu_.Send(monitor, kGuestShutdownLine);
  const absl::Status late = Declare("vm1").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(late)) << late;
  EXPECT_THAT(std::string(late.message()), HasSubstr("guest-poweroff"));
  EXPECT_EQ(sink_.Count(EventType::kIntentDeclared), 0);
  qemu_.Exit();
  ExpectStopped(ShutdownClass::kUser, "guest-poweroff");
  EXPECT_FALSE(Stopped().intent.has_value());
}

TEST_F(NodeWatcherIntentTest, ANameThatStandsForTwoNeedsTheRun) {
  directory_.MakeDirectory("more");
  options_.watches.push_back(Spec("more"));
  FakeQemu first;
  FakeQemu second;
  first.AddMonitor(Socket("vm1"));
  second.AddMonitor(directory_.Path("more/vm1.kvmd"));
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  ASSERT_TRUE(UntilScanned());
  const absl::Status ambiguous = Declare("vm1").status();
  EXPECT_EQ(ambiguous.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(ambiguous.message()), HasSubstr(RunId("vm1")));
  EXPECT_TRUE(Declare("vm1", "id-1", RunId("vm1")).ok());
  KillUntilStopped(&first);
  const bool other_has_it = Stopped().intent.has_value();
  EXPECT_EQ(Declare("vm1", "id-2").ok(), other_has_it) << "one is left of that name";
}

TEST_F(NodeWatcherIntentTest, ExpiresByItsTime) {
  qemu_.AddMonitor(Socket("vm1"));
  StartWithManualClock();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  ASSERT_TRUE(UntilScanned());
  ASSERT_TRUE(Declare("vm1", "id-1", "", absl::Seconds(5)).ok());
  manual_clock_.Advance(absl::Seconds(5));
  ASSERT_TRUE(UntilCount(EventType::kIntentWithdrawn, 1));
  EXPECT_TRUE(absl::IsNotFound(Withdraw("id-1")));
  EXPECT_TRUE(Declare("vm1", "id-2").ok());
}

// An operator that declares and withdraws without end pushes no history out of the journal.
TEST_F(NodeWatcherIntentTest, IsRefusedWhereTooManyWereDeclared) {
  StartOne(&qemu_);
  absl::Status refused;
  int declared = 0;
  for (; declared < 1000 && refused.ok(); ++declared) {
    refused = Declare("vm1").status();
    if (refused.ok()) {
      ASSERT_TRUE(Withdraw("id-1").ok());
    }
  }
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_GE(declared, 100);
}

TEST_F(NodeWatcherIntentTest, SurvivesARestart) {
  StartOne(&qemu_);
  ASSERT_TRUE(Declare("vm1").ok());
  Restart();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  ASSERT_TRUE(UntilScanned());
  EXPECT_TRUE(absl::IsAlreadyExists(Declare("vm1", "id-2").status()));
  EXPECT_TRUE(Withdraw("id-1").ok());
  EXPECT_TRUE(Declare("vm1", "id-2").ok());
  Die();
  qemu_.KillAndReap();
  Restart();
  ExpectStopped(ShutdownClass::kAdmin, "unobserved");
  EXPECT_EQ(Stopped().intent->intent_id, "id-2");
}

TEST_F(NodeWatcherIntentTest, WaitsForTheFirstScan) {
  qemu_.AddMonitor(Socket("vm1"));
  Start();
  Outcome outcome;
  Ask("vm2", &outcome);
  EXPECT_EQ(outcome.calls, 0);
  ASSERT_TRUE(UntilScanned());
  ASSERT_TRUE(Until([&] { return outcome.calls == 1; }));
  EXPECT_TRUE(absl::IsNotFound(outcome.intent.status()));
}

TEST_F(NodeWatcherIntentTest, TooManyThatWaitAreRefused) {
  Start();
  std::vector<Outcome> outcomes(kMaxIntentRequests + 1);
  for (Outcome& outcome : outcomes) Ask("vm1", &outcome);
  EXPECT_EQ(outcomes.front().calls, 0);
  EXPECT_EQ(outcomes.back().intent.status().code(), absl::StatusCode::kResourceExhausted);
  Turn();
  ASSERT_TRUE(UntilScanned());
  EXPECT_TRUE(absl::IsNotFound(outcomes.front().intent.status()));
  EXPECT_TRUE(absl::IsNotFound(Declare("vm1").status())) << "there is room again";
}

TEST_F(NodeWatcherIntentTest, TheEndOfTheWatcherAnswersWhatWaits) {
  Start();
  Outcome declared;
  Ask("vm1", &declared);
  absl::Status withdrawn;
  watcher_->WithdrawIntent("id-1", [&](const absl::Status& status) { withdrawn = status; });
  watcher_.reset();
  EXPECT_EQ(declared.calls, 1);
  EXPECT_TRUE(absl::IsUnavailable(declared.intent.status()));
  EXPECT_TRUE(absl::IsUnavailable(withdrawn));
}

TEST_F(NodeWatcherIntentTest, ComesFromAnyThread) {
  StartOne(&qemu_);
  Outcome outcome;
  std::thread other([&] { Ask("vm1", &outcome); });
  EXPECT_TRUE(UntilCount(EventType::kIntentDeclared, 1));
  other.join();
  TellAll();
  EXPECT_TRUE(outcome.intent.ok());
}

}  // namespace
}  // namespace vmeventd
