#include "server/fleet/node_state.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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
        NodeStateOptions{.cluster = "c", .node = "n", .version = "1.2"}, &sink_, &outbox_,
        &state_.clock(), &meters_, [] { return 1.0; });
    node_->OnConnected();
  }
  // Everything up to now is published; what that permits is written.
  void Settle() { SettleAt(state_.live_state().range().newest); }
  void SettleAt(uint64_t published) {
    for (int i = 0; i < 100; ++i) {
      const NodeState::Step step = node_->Write({kJournal, published, 1});
      if (step.next > NodeState::kScanInterval) return;
      state_.clock().Advance(step.next);
      if (step.next == NodeState::kScanInterval && step.written == 0 && i > 3) return;
    }
    FAIL() << "it never comes to rest";
  }
  void Push(const VmUpdate& update) { state_.Push({update}); }

  PumpedState state_;
  FakeSink sink_;
  DirectOutbox outbox_{&state_};
  FleetMeters meters_;
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
  Push(Update("vm1", EventType::kStarted));
  Settle();
  const uint64_t written = meters_.state_writes.value();
  state_.clock().Advance(absl::Hours(2));
  Settle();
  EXPECT_EQ(meters_.state_writes.value(), written);
  state_.clock().Advance(NodeState::kRefresh);
  Settle();
  EXPECT_EQ(meters_.state_writes.value(), written + 1);
}

TEST_F(NodeStateTest, ABucketThatFailedAndWasLostMeanwhileIsWrittenAgain) {
  Push(Update("vm1", EventType::kStarted));
  Settle();
  sink_.bucket_error = absl::UnavailableError("no stream takes it");
  Push(Update("vm2", EventType::kStarted));
  Settle();
  EXPECT_FALSE(sink_.HasVm("vm2"));
  sink_.LoseBuckets();
  sink_.bucket_error = absl::OkStatus();
  state_.clock().Advance(NodeState::kBucketCheck);
  Settle();
  EXPECT_TRUE(sink_.HasVm("vm2"));
  EXPECT_TRUE(sink_.HasVm("vm1"));
}

TEST_F(NodeStateTest, ABucketThatWasLostIsWrittenAgain) {
  Push(Update("vm1", EventType::kStarted));
  Settle();
  sink_.LoseBuckets();
  state_.clock().Advance(NodeState::kBucketCheck);
  Settle();
  EXPECT_TRUE(sink_.HasVm("vm1"));
  EXPECT_EQ(sink_.Heartbeat().node(), "n");
}

TEST_F(NodeStateTest, ANewDaemonDeletesTheKeysOfVmsThatItDoesNotKnow) {
  const std::string gone = KeySubject(kVmsBucket, VmBucketKey("c", "n", "gone"));
  const std::string other = KeySubject(kVmsBucket, VmBucketKey("c", "other", "vm"));
  sink_.values[gone] = FleetMessage{0, gone, {}, "an earlier daemon's"};
  sink_.values[other] = FleetMessage{0, other, {}, "another node's"};
  Push(Update("vm1", EventType::kStarted));
  Settle();
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
  EXPECT_EQ(node_->Write({kJournal, count, 1}).written, NodeState::kMaxBatch);
  Settle();
  EXPECT_EQ(meters_.state_vms.value(), count);
}

TEST_F(NodeStateTest, WhatIsNotAcknowledgedIsWrittenAgain) {
  Push(Update("vm1", EventType::kStarted));
  Push(Update("vm2", EventType::kStarted));
  node_->Write({kJournal, 0, 1});  // the heartbeat
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
  node_->Write({kJournal, 0, 1});
  EXPECT_EQ(meters_.bucket_failures.value(), 2u) << "of each bucket one";
  node_->OnConnected();
  node_->Write({kJournal, 0, 1});
  EXPECT_EQ(meters_.bucket_failures.value(), 2u);
  for (int i = 0; i < 20; ++i) {
    const NodeState::Step step = node_->Write({kJournal, 0, 1});
    EXPECT_LE(step.next, NodeState::kMaxRetry);
    state_.clock().Advance(step.next);
  }
  EXPECT_EQ(node_->Write({kJournal, 0, 1}).next, NodeState::kMaxRetry);
  sink_.bucket_error = absl::OkStatus();
  state_.clock().Advance(NodeState::kMaxRetry);
  Settle();
  EXPECT_EQ(meters_.heartbeats.value(), 1u);
}

}  // namespace
}  // namespace vmeventd
