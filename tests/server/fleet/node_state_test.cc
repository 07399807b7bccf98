#include "server/fleet/node_state.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_fleet.h"
#include "tests/support/test_events.h"
#include "vmeventd/v1/fleet.pb.h"

namespace vmeventd {
namespace {

class NodeStateTest : public testing::Test {
 protected:
  NodeStateTest() { Start(); }

  // As after a start of the daemon.
  void Start() {
    node_ = std::make_unique<NodeState>(
        PublisherOptions{
            .cluster = "c", .node = "n", .version = "1.2", .heartbeat = absl::Seconds(30)},
        &sink_, &outbox_, &state_.clock(), &meters_, &problems_, [] { return 1.0; });
    node_->OnConnected();
  }
  // Everything up to now is published; what that permits is written.
  void Settle() { SettleAt(state_.live_state().range().newest); }
  void SettleAt(uint64_t published) {
    for (int i = 0; i < 100; ++i) {
      const NodeState::Step step = node_->Write({kJournal, published, 1, ""});
      if (step.next > NodeState::kScanInterval) return;
      state_.clock().Advance(step.next);
      if (step.next == NodeState::kScanInterval && step.written == 0 && i > 3) return;
    }
    FAIL() << "it never comes to rest";
  }
  // One step, and the time until the next one is due.
  void Step() {
    const uint64_t newest = state_.live_state().range().newest;
    state_.clock().Advance(node_->Write({kJournal, newest, 1, ""}).next);
  }
  void Push(const VmUpdate& update) { state_.Push({update}); }
  void PushAndSettle(const std::string& vm, EventType type) {
    Push(Update(vm, type));
    Settle();
  }
  static FleetMessage Value(const std::string& subject, const std::string& payload) {
    return {.subject = subject, .payload = payload};
  }
  static std::string KeyOf(const std::string& vm) {
    return KeySubject(kVmsBucket, VmBucketKey("c", "n", vm));
  }
  void LookAgain() {
    state_.clock().Advance(kLookInterval);
    Settle();
  }

  PumpedState state_;
  FakeSink sink_;
  DirectOutbox outbox_{&state_};
  FleetMeters meters_;
  PublishingProblems problems_;
  std::unique_ptr<NodeState> node_;
};

TEST_F(NodeStateTest, ACrashedVmIsOneLookUp) {
  Push(Update("vm1", EventType::kStarted));
  Push(Stopped("vm1", "run-vm1", ShutdownClass::kCrash));
  Settle();
  const v1::Vm vm = sink_.Vm("vm1");
  EXPECT_EQ(vm.state(), v1::VM_STATE_STOPPED);
  EXPECT_EQ(vm.shutdown().class_(), v1::SHUTDOWN_CLASS_CRASH);
  EXPECT_EQ(vm.last_sequence(), 2u);
}

TEST_F(NodeStateTest, AStateThatIsTooLargeHoldsUpNoOtherAndLeavesNoOlderOneBehind) {
  const std::string large(200, 'x');
  PushAndSettle(large, EventType::kStarted);
  ASSERT_TRUE(sink_.HasVm(large));
  sink_.max_value = 200;
  Push(Stopped(large, "run-" + large, ShutdownClass::kCrash));
  for (int i = 0; i < 8; ++i) {
    const std::string vm = absl::StrCat("vm", i);
    Push(Update(vm, EventType::kStarted));
    const absl::Duration begin = state_.clock().Now().monotonic;
    while (!sink_.HasVm(vm) && state_.clock().Now().monotonic - begin < kLookInterval) {
      Step();
    }
    EXPECT_LE(state_.clock().Now().monotonic - begin,
              NodeState::kFirstRetry + NodeState::kScanInterval)
        << vm;
    EXPECT_FALSE(sink_.HasVm(large)) << "it runs no more";
    EXPECT_THAT(problems_.text(),
                testing::HasSubstr("cannot write the VMs' last states: message size"));
  }
  sink_.max_value = 2'000;
  Settle();
  EXPECT_EQ(sink_.Vm(large).state(), v1::VM_STATE_STOPPED);
  EXPECT_EQ(problems_.text(), "");
}

TEST_F(NodeStateTest, TheStateFollowsThePublishedEvents) {
  Push(Update("vm1", EventType::kStarted));
  Push(Update("vm2", EventType::kStarted));
  SettleAt(1);
  EXPECT_TRUE(sink_.HasVm("vm1"));
  EXPECT_FALSE(sink_.HasVm("vm2")) << "its event is not in the stream";
  SettleAt(2);
  EXPECT_TRUE(sink_.HasVm("vm2"));
}

TEST_F(NodeStateTest, WhatDoesNotChangeIsNotWrittenAgainButOnceADay) {
  PushAndSettle("vm1", EventType::kStarted);
  const uint64_t written = meters_.state_writes.value();
  state_.clock().Advance(absl::Hours(2));
  Settle();
  EXPECT_EQ(meters_.state_writes.value(), written);
  state_.clock().Advance(NodeState::kRefresh);
  Settle();
  EXPECT_EQ(meters_.state_writes.value(), written + 1);
}

TEST_F(NodeStateTest, ABucketThatFailedAndWasLostMeanwhileIsWrittenAgain) {
  PushAndSettle("vm1", EventType::kStarted);
  sink_.bucket_error = absl::UnavailableError("no stream takes it");
  PushAndSettle("vm2", EventType::kStarted);
  EXPECT_FALSE(sink_.HasVm("vm2"));
  sink_.LoseBuckets();
  sink_.bucket_error = absl::OkStatus();
  LookAgain();
  EXPECT_TRUE(sink_.HasVm("vm2"));
  EXPECT_TRUE(sink_.HasVm("vm1"));
}

TEST_F(NodeStateTest, ABucketThatWasLostIsWrittenAgain) {
  PushAndSettle("vm1", EventType::kStarted);
  sink_.LoseBuckets();
  LookAgain();
  EXPECT_TRUE(sink_.HasVm("vm1"));
  EXPECT_EQ(sink_.Heartbeat().node(), "n");
}

// As by `nats kv purge`, or by a rollup of another node: the bucket is the same one.
TEST_F(NodeStateTest, WhatSomebodyPurgesIsWrittenAgainWithinAMinute) {
  Push(Update("vm1", EventType::kStarted));
  PushAndSettle("vm2", EventType::kStarted);
  sink_.values.erase(KeyOf("vm1"));
  sink_.places.erase(KeyOf("vm1"));
  LookAgain();
  EXPECT_TRUE(sink_.HasVm("vm1"));
  sink_.values.clear();
  sink_.places.clear();
  LookAgain();
  EXPECT_TRUE(sink_.HasVm("vm1"));
  EXPECT_TRUE(sink_.HasVm("vm2"));
}

// A round trip for each would hold the events up.
TEST_F(NodeStateTest, TheKeysOfAnEarlierDaemonAreAskedForTogether) {
  constexpr int kKeys = 200;
  for (int i = 0; i < kKeys; ++i) sink_.Write(Value(KeyOf(absl::StrCat("old", i)), "a state"));
  PushAndSettle("vm1", EventType::kStarted);
  for (int i = 0; i < kKeys; ++i) EXPECT_FALSE(sink_.Has(KeyOf(absl::StrCat("old", i)))) << i;
  EXPECT_TRUE(sink_.HasVm("vm1"));
  EXPECT_LE(sink_.lookups, 8);
}

// As the server writes its acknowledgement of a message whose reply subject is that key.
TEST_F(NodeStateTest, WhatSomebodyOverwritesIsWrittenAgainWithinAMinute) {
  Push(Update("vm1", EventType::kStarted));
  PushAndSettle("vm2", EventType::kStarted);
  LookAgain();  // what was read then is not read again
  const uint64_t puts = meters_.state_writes.value();
  sink_.Write(Value(KeyOf("vm1"), "{\"stream\":\"VMEVENTS\",\"seq\":5}"));
  sink_.Write(Value(KeyOf("unknown"), "{\"stream\":\"VMEVENTS\",\"seq\":6}"));
  LookAgain();
  EXPECT_EQ(sink_.Vm("vm1").last_sequence(), 1u);
  EXPECT_FALSE(sink_.Has(KeyOf("unknown")));
  EXPECT_EQ(sink_.Vm("vm2").last_sequence(), 2u);
  EXPECT_LE(meters_.state_writes.value(), puts + 3);
}

TEST_F(NodeStateTest, WhatSomebodyOverwritesBeforeTheNextValueIsWrittenAgainToo) {
  Push(Update("vm1", EventType::kStarted));
  PushAndSettle("vm2", EventType::kStarted);
  sink_.Write(Value(KeyOf("vm1"), "a late value"));
  PushAndSettle("vm2", EventType::kPaused);
  LookAgain();
  EXPECT_EQ(sink_.Vm("vm1").last_sequence(), 1u);
  EXPECT_EQ(sink_.Vm("vm2").last_sequence(), 3u);
}

TEST_F(NodeStateTest, ABucketThatWasRestoredIsWrittenAgain) {
  PushAndSettle("vm1", EventType::kStarted);
  const auto values = sink_.values;
  const auto places = sink_.places;
  const uint64_t last_place = sink_.last_place;
  PushAndSettle("vm1", EventType::kPaused);
  sink_.values = values;
  sink_.places = places;
  sink_.last_place = last_place;
  LookAgain();
  EXPECT_EQ(sink_.Vm("vm1").last_sequence(), 2u);
}

TEST_F(NodeStateTest, AValueReplacesTheOneThatItIsMeantFor) {
  PushAndSettle("vm1", EventType::kStarted);
  FleetMessage late = sink_.values.at(KeyOf("vm1"));
  EXPECT_EQ(late.replaces, 0u) << "the key was not there";
  const uint64_t first = sink_.places.at(KeyOf("vm1"));
  PushAndSettle("vm1", EventType::kPaused);
  EXPECT_EQ(sink_.values.at(KeyOf("vm1")).replaces, first);
}

TEST_F(NodeStateTest, AValueThatIsRefusedBecauseOfAnotherIsWrittenAtOnce) {
  PushAndSettle("vm1", EventType::kStarted);
  sink_.Write(Value(KeyOf("vm1"), "a late value"));
  PushAndSettle("vm1", EventType::kPaused);
  EXPECT_EQ(sink_.Vm("vm1").last_sequence(), 2u);
  EXPECT_EQ(meters_.bucket_failures.value(), 0u);
}

TEST_F(NodeStateTest, ANodeOfTheSameNameIsNoticedByItsHeartbeat) {
  Settle();
  FleetMessage other = sink_.values.at(KeySubject(kNodesBucket, NodeBucketKey("c", "n")));
  other.headers = ValueHeaders({"c", "n", "another"}, PublishFormat::kProtobuf);
  for (int i = 0; i < 3; ++i) {
    sink_.Write(other);
    state_.clock().Advance(absl::Seconds(30));
    Settle();
  }
  EXPECT_EQ(meters_.name_conflicts.value(), 1u);
  EXPECT_EQ(sink_.Heartbeat().journal_id(), kJournal);
}

TEST_F(NodeStateTest, ANodeThatHasCaughtUpSaysSoAtOnce) {
  Push(Update("vm1", EventType::kStarted));
  SettleAt(0);
  EXPECT_EQ(sink_.Heartbeat().published_sequence(), 0u);
  state_.clock().Advance(NodeState::kScanInterval);
  node_->Write({kJournal, 1, 1, ""});
  EXPECT_EQ(sink_.Heartbeat().published_sequence(), 1u);
}

TEST_F(NodeStateTest, AHeartbeatSaysUntilWhenTheStatesAreComplete) {
  const auto states_time = [&](uint64_t published) {
    SettleAt(published);
    state_.clock().Advance(absl::Seconds(30));
    SettleAt(published);
    return sink_.Heartbeat().states_time().seconds();
  };
  Push(Update("vm1", EventType::kStarted));
  EXPECT_EQ(states_time(0), 0) << "it is not known";
  const int64_t complete = states_time(1);
  EXPECT_GT(complete, 0);
  EXPECT_GT(states_time(1), complete);
  // Its events are published one by one; its state is that before both until the last is there.
  Push(Update("vm1", EventType::kPaused));
  Push(Update("vm1", EventType::kResumed));
  const int64_t behind = states_time(2);
  EXPECT_EQ(states_time(2), behind);
  EXPECT_GT(states_time(3), behind + 30);
}

TEST_F(NodeStateTest, ANewDaemonDeletesTheKeysOfVmsThatItDoesNotKnow) {
  const std::string gone = KeySubject(kVmsBucket, VmBucketKey("c", "n", "gone"));
  const std::string other = KeySubject(kVmsBucket, VmBucketKey("c", "other", "vm"));
  sink_.Write(Value(gone, "an earlier daemon's"));
  sink_.Write(Value(other, "another node's"));
  PushAndSettle("vm1", EventType::kStarted);
  EXPECT_FALSE(sink_.Has(gone));
  EXPECT_TRUE(sink_.Has(other));
  EXPECT_TRUE(sink_.HasVm("vm1"));
  const size_t puts = sink_.puts;
  Start();
  Settle();
  EXPECT_EQ(sink_.puts, puts + 2) << "the state and the heartbeat; no deletion again";
}

TEST_F(NodeStateTest, ManyVmsAreWrittenInBatches) {
  const size_t count = 2 * NodeState::kMaxBatch + 10;
  for (size_t i = 0; i < count; ++i) {
    Push(Update(absl::StrCat("vm", i), EventType::kStarted));
  }
  EXPECT_EQ(node_->Write({kJournal, count, 1, ""}).written, NodeState::kMaxBatch);
  Settle();
  EXPECT_EQ(meters_.state_vms.value(), count);
}

TEST_F(NodeStateTest, WhatIsNotAcknowledgedIsWrittenAgain) {
  Push(Update("vm1", EventType::kStarted));
  Push(Update("vm2", EventType::kStarted));
  node_->Write({kJournal, 0, 1, ""});  // the heartbeat
  state_.clock().Advance(NodeState::kScanInterval);
  sink_.put_only = 1;
  SettleAt(2);
  state_.clock().Advance(NodeState::kMaxRetry);
  SettleAt(2);
  EXPECT_TRUE(sink_.HasVm("vm1"));
  EXPECT_TRUE(sink_.HasVm("vm2"));
}

TEST_F(NodeStateTest, OfTwoRunsTheOneThatRunsCounts) {
  VmUpdate old_run = Stopped("vm1", "old", ShutdownClass::kUser);
  VmUpdate new_run = Update("vm1", EventType::kStarted);
  Push(new_run);
  Push(old_run);
  Settle();
  EXPECT_EQ(sink_.Vm("vm1").state(), v1::VM_STATE_RUNNING);
}

TEST_F(NodeStateTest, AHeartbeatSaysHowFarTheNodeIs) {
  Push(Update("vm1", EventType::kStarted));
  Push(Update("vm1", EventType::kReset));
  SettleAt(1);
  v1::NodeHeartbeat heartbeat = sink_.Heartbeat();
  EXPECT_EQ(heartbeat.cluster(), "c");
  EXPECT_EQ(heartbeat.node(), "n");
  EXPECT_EQ(heartbeat.version(), "1.2");
  EXPECT_EQ(heartbeat.journal_id(), kJournal);
  EXPECT_EQ(heartbeat.newest_sequence(), 2u);
  EXPECT_EQ(heartbeat.published_sequence(), 1u);
  EXPECT_EQ(heartbeat.interval().seconds(), 30);
  EXPECT_EQ(heartbeat.vms(), 1u);
  const uint64_t count = meters_.heartbeats.value();
  state_.clock().Advance(absl::Seconds(30));
  Settle();
  EXPECT_EQ(meters_.heartbeats.value(), count + 1);
}

TEST_F(NodeStateTest, AttemptsToUseABucketThatFailsAreSpreadOut) {
  sink_.bucket_error = absl::UnavailableError("not permitted");
  node_->Write({kJournal, 0, 1, ""});
  EXPECT_EQ(meters_.bucket_failures.value(), 2u) << "of each bucket one";
  EXPECT_THAT(problems_.text(), testing::StartsWith("cannot write the nodes' heartbeats: "));
  EXPECT_THAT(problems_.text(), testing::HasSubstr("; cannot write the VMs' last states: "));
  node_->OnConnected();
  node_->Write({kJournal, 0, 1, ""});
  EXPECT_EQ(meters_.bucket_failures.value(), 2u);
  for (int i = 0; i < 20; ++i) {
    const NodeState::Step step = node_->Write({kJournal, 0, 1, ""});
    EXPECT_LE(step.next, NodeState::kMaxRetry);
    state_.clock().Advance(step.next);
  }
  EXPECT_EQ(node_->Write({kJournal, 0, 1, ""}).next, NodeState::kMaxRetry);
  sink_.bucket_error = absl::OkStatus();
  state_.clock().Advance(NodeState::kMaxRetry);
  Settle();
  EXPECT_EQ(meters_.heartbeats.value(), 1u);
}

}  // namespace
}  // namespace vmeventd
