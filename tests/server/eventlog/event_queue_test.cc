#include "server/eventlog/event_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

std::vector<VmUpdate> Taken(EventQueue* queue) { return queue->Pop().updates; }

int Events(const std::vector<VmUpdate>& updates, EventType type) {
  int count = 0;
  for (const VmUpdate& update : updates) {
    count += update.event.has_value() && update.event->type() == type ? 1 : 0;
  }
  return count;
}

TEST(EventQueue, WhatIsNoEvidenceGoesFirstAndOneGapCounts) {
  EventQueue queue(3);
  for (int i = 0; i < 5; ++i) queue.Push(Update("a", EventType::kReset));
  queue.Push(Update("b", EventType::kStarted));
  const std::vector<VmUpdate> updates = Taken(&queue);
  EXPECT_EQ(Events(updates, EventType::kReset), 3);
  EXPECT_EQ(Events(updates, EventType::kStarted), 1);
  EXPECT_EQ(Events(updates, EventType::kGap), 1);
  EXPECT_EQ(updates.back().event->gap_reason(), GapReason::kQueueFull);
  EXPECT_THAT(updates.back().event->message(), HasSubstr("2 events of VMs were dropped"));
  EXPECT_EQ(queue.dropped_events(), 2u);
  EXPECT_EQ(Events(Taken(&queue), EventType::kGap), 0) << "once";
}

TEST(EventQueue, ABurstIsTakenInParts) {
  EventQueue queue(10);
  VmUpdate large = Update("a", EventType::kReset);
  large.event->set_detail_json(std::string(EventQueue::kBatchBytes / 4, 'x'));
  for (int i = 0; i < 5; ++i) queue.Push(large);
  queue.Close();
  EXPECT_TRUE(queue.Pop(/*take=*/false).updates.empty());
  const EventQueue::Batch first = queue.Pop();
  EXPECT_EQ(first.updates.size(), 4u);
  EXPECT_FALSE(first.closed);
  const EventQueue::Batch rest = queue.Pop();
  EXPECT_EQ(rest.updates.size(), 1u);
  EXPECT_TRUE(rest.closed);
}

// One of two threads that wait is woken for an update, and it may have begun to wait before there
// was room.
TEST(EventQueue, AnUpdateEndsAWaitThatBeganWithoutRoom) {
  EventQueue queue(10);
  queue.Push(Update("a", EventType::kReset));
  std::atomic<bool> room = false;
  std::atomic<bool> waits = false;
  std::thread pump([&] {
    queue.Wait(absl::InfiniteDuration(), [&] {
      waits = true;
      return room.load();
    });
  });
  while (!waits) std::this_thread::yield();
  room = true;
  queue.Push(Update("a", EventType::kReset));
  queue.EndTurn();
  pump.join();
}

TEST(EventQueue, EvenEvidenceHasABound) {
  EventQueue queue(10);
  for (int i = 0; i < 100; ++i) queue.Push(Update("a", EventType::kStarted));
  EXPECT_EQ(Events(Taken(&queue), EventType::kStarted), 20);
}

TEST(EventQueue, AFullQueueLosesNoStateOfAVm) {
  EventQueue queue(1);
  queue.Push(Update("other", EventType::kReset));
  VmUpdate saved = Update("a", EventType::kReset);
  saved.saved_run = "first";
  queue.Push(saved);
  saved.saved_run = "second";
  queue.Push(saved);
  VmUpdate later = Update("a", EventType::kReset);
  later.status->set_state(ToProto(VmState::kPaused));
  queue.Push(later);  // saves nothing: the one before counts
  const std::vector<VmUpdate> updates = Taken(&queue);
  ASSERT_EQ(updates.size(), 3u);
  EXPECT_EQ(updates[1].saved_run, "second");
  EXPECT_EQ(updates[1].status->state(), VmState::kPaused);
}

TEST(EventQueue, EvidenceTakesOverTheStateThatWaits) {
  EventQueue queue(2);
  for (int i = 0; i < 2; ++i) queue.Push(Update("other", EventType::kReset));
  VmUpdate saved = Update("a", EventType::kReset);
  saved.saved_run = "state";
  queue.Push(saved);
  queue.Push(Update("a", EventType::kStarted));
  const std::vector<VmUpdate> updates = Taken(&queue);
  ASSERT_EQ(updates.size(), 4u);
  EXPECT_EQ(Events(updates, EventType::kStarted), 1);
  EXPECT_EQ(updates[2].saved_run, "state");
}

TEST(EventQueue, WhoeverWaitsForAnEventIsAnswered) {
  EventQueue queue(1);
  for (int i = 0; i < 5; ++i) {
    VmUpdate update = Update("a", EventType::kIntentDeclared);
    update.on_public = [] {};
    queue.Push(std::move(update));
  }
  int answered = 0;
  for (const VmUpdate& update : Taken(&queue)) answered += update.on_public != nullptr ? 1 : 0;
  EXPECT_EQ(answered, 5);
}

}  // namespace
}  // namespace vmeventd
