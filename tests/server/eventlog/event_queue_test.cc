#include "server/eventlog/event_queue.h"

#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

VmUpdate UpdateOf(const std::string& run_id, std::optional<EventType> type,
                  VmState state = VmState::kRunning) {
  VmUpdate update;
  update.status.emplace();
  update.status->ref.run_id = run_id;
  update.status->state = state;
  if (type.has_value()) {
    update.event.emplace();
    update.event->type = *type;
  }
  return update;
}

std::vector<std::string> Texts(const EventQueue::Batch& batch) {
  std::vector<std::string> texts;
  for (const VmUpdate& update : batch.updates) {
    std::string text(update.status.has_value() ? update.status->ref.run_id.str() : "node");
    if (update.event.has_value())
      text += " " + std::to_string(static_cast<int>(update.event->type));
    texts.push_back(text);
  }
  return texts;
}

TEST(EventQueueTest, GivesUpdatesInOrder) {
  EventQueue queue(10);
  queue.Push(UpdateOf("a", EventType::kStarted));
  queue.Push(UpdateOf("b", EventType::kReset));
  EXPECT_THAT(Texts(queue.Pop(absl::ZeroDuration())), ElementsAre("a 1", "b 5"));
  EXPECT_THAT(queue.Pop(absl::ZeroDuration()).updates, IsEmpty());
}

// A pump that waits.
class WaitingPump {
 public:
  explicit WaitingPump(EventQueue* queue)
      : thread_([this, queue] { batch_ = queue->Pop(absl::InfiniteDuration()); }) {}
  // What it got in the end.
  EventQueue::Batch Join() {
    thread_.join();
    return std::move(batch_);
  }

 private:
  EventQueue::Batch batch_;
  std::thread thread_;
};

TEST(EventQueueTest, APumpThatWaitsGetsATurnWhenItIsOver) {
  EventQueue queue(10);
  WaitingPump pump(&queue);
  queue.Push(UpdateOf("a", EventType::kStarted));
  queue.EndTurn();
  EXPECT_THAT(Texts(pump.Join()), Not(IsEmpty()));
}

TEST(EventQueueTest, APumpThatWaitsGetsALongTurnBeforeItIsOver) {
  EventQueue queue(10'000);
  WaitingPump pump(&queue);
  for (size_t i = 0; i < EventQueue::kMaxHeldBack; ++i) {
    queue.Push(UpdateOf("a", EventType::kReset));
  }
  EXPECT_THAT(Texts(pump.Join()), Not(IsEmpty()));
}

TEST(EventQueueTest, WakeAndDirectoriesEndAWait) {
  EventQueue queue(10);
  queue.Wake();
  EXPECT_THAT(queue.Pop(absl::InfiniteDuration()).updates, IsEmpty());
  queue.SetDirectories({{"/d", "*", true, 3}});
  EXPECT_THAT(queue.Pop(absl::InfiniteDuration()).updates, IsEmpty());
  EXPECT_THAT(queue.directories(), SizeIs(1));
}

TEST(EventQueueTest, CloseIsToldForEver) {
  EventQueue queue(10);
  queue.Push(UpdateOf("a", EventType::kStarted));
  queue.Close();
  const EventQueue::Batch batch = queue.Pop(absl::InfiniteDuration());
  EXPECT_TRUE(batch.closed);
  EXPECT_THAT(batch.updates, SizeIs(1));
  EXPECT_TRUE(queue.Pop(absl::InfiniteDuration()).closed);
}

TEST(EventQueueTest, AFullQueueDropsWhatIsNoEvidenceAndSaysSo) {
  EventQueue queue(2);
  queue.Push(UpdateOf("a", EventType::kPaused));
  queue.Push(UpdateOf("a", EventType::kReset));
  queue.Push(UpdateOf("a", EventType::kReset));
  queue.Push(UpdateOf("b", EventType::kPaused));
  queue.Push(UpdateOf("a", EventType::kStopped));
  const EventQueue::Batch batch = queue.Pop(absl::ZeroDuration());
  EXPECT_THAT(Texts(batch), ElementsAre("a 6", "a 5", "a", "b", "a 2", "node 20"));
  EXPECT_THAT(batch.updates.back().event->message, HasSubstr("2 events"));
  EXPECT_EQ(queue.dropped_events(), 2u);
  EXPECT_THAT(queue.Pop(absl::ZeroDuration()).updates, IsEmpty());
}

TEST(EventQueueTest, AFullQueueKeepsOnlyTheNewestStatusOfAVm) {
  EventQueue queue(1);
  queue.Push(UpdateOf("a", EventType::kStarted));
  for (int i = 0; i < 1000; ++i) queue.Push(UpdateOf("a", EventType::kReset));
  queue.Push(UpdateOf("a", std::nullopt, VmState::kPaused));
  const EventQueue::Batch batch = queue.Pop(absl::ZeroDuration());
  EXPECT_THAT(Texts(batch), ElementsAre("a 1", "a", "node 20"));
  EXPECT_EQ(batch.updates[1].status->state, VmState::kPaused);
}

TEST(EventQueueTest, AFullQueueLosesNothingThatIsToBeKeptOfARun) {
  EventQueue queue(1);
  const auto saved = [](VmUpdate update, const std::string& text) {
    update.saved_run = text;
    return update;
  };
  queue.Push(UpdateOf("a", EventType::kPaused));
  queue.Push(saved(UpdateOf("a", EventType::kReset), "reset"));
  queue.Push(UpdateOf("a", std::nullopt));
  queue.Push(saved(UpdateOf("b", std::nullopt), "old"));
  queue.Push(saved(UpdateOf("b", EventType::kPowerdownRequested), "new"));
  queue.Push(saved(UpdateOf("a", EventType::kStopped), ""));
  const EventQueue::Batch batch = queue.Pop(absl::ZeroDuration());
  ASSERT_THAT(Texts(batch), ElementsAre("a 6", "a", "b", "a 2", "node 20"));
  EXPECT_EQ(batch.updates[1].saved_run, "reset") << "a later status has none: it stands";
  EXPECT_EQ(batch.updates[2].saved_run, "new");
  EXPECT_EQ(batch.updates[3].saved_run, "");
}

TEST(EventQueueTest, AStatusDoesNotMoveBeforeAnEventThatIsKept) {
  EventQueue queue(1);
  queue.Push(UpdateOf("a", EventType::kStarted));
  queue.Push(UpdateOf("a", std::nullopt, VmState::kPaused));
  VmUpdate kept = UpdateOf("a", EventType::kIntentDeclared, VmState::kGuestDown);
  queue.Push(kept);
  queue.Push(UpdateOf("a", std::nullopt, VmState::kRunning));
  EXPECT_THAT(Texts(queue.Pop(absl::ZeroDuration())), ElementsAre("a 1", "a", "a 18", "a"));
}

TEST(EventQueueTest, AFullQueueKeepsWhatSomebodyWaitsFor) {
  EventQueue queue(1);
  int published = 0;
  const auto awaited = [&published](VmUpdate update) {
    update.on_public = [&published] { ++published; };
    return update;
  };
  queue.Push(UpdateOf("a", EventType::kStarted));
  queue.Push(UpdateOf("a", EventType::kIntentDeclared));
  queue.Push(awaited(UpdateOf("a", EventType::kIntentWithdrawn)));
  queue.Push(awaited(UpdateOf("a", EventType::kReset)));
  queue.Push(UpdateOf("a", std::nullopt));
  const EventQueue::Batch batch = queue.Pop(absl::ZeroDuration());
  EXPECT_THAT(Texts(batch), ElementsAre("a 1", "a 18", "a 19", "a 5", "a"));
  for (const VmUpdate& update : batch.updates) {
    if (update.on_public != nullptr) update.on_public();
  }
  EXPECT_EQ(published, 2);
}

VmUpdate Large(const std::string& run_id, EventType type) {
  VmUpdate update = UpdateOf(run_id, type);
  update.event->detail_json = std::string(4096, 'x');
  update.event->shutdown.emplace();
  for (int i = 0; i < 16; ++i) {
    update.event->shutdown->evidence.push_back({absl::UnixEpoch(), std::string(512, 'e')});
  }
  update.status->shutdown = update.event->shutdown;
  update.saved_run = std::string(20'000, 's');
  return update;
}

TEST(EventQueueTest, WhatFewUpdatesHaveCountsToo) {
  EventQueue queue(100);
  queue.Push(UpdateOf("a", EventType::kGuestPanicked));
  const size_t without = queue.bytes();
  VmUpdate update = UpdateOf("b", EventType::kGuestPanicked);
  update.event->panic.emplace();
  update.event->intent.emplace();
  update.event->shutdown.emplace().panic.emplace();
  queue.Push(std::move(update));
  EXPECT_GE(queue.bytes(),
            2 * without + sizeof(ShutdownDetail) + sizeof(Intent) + 2 * sizeof(GuestPanic));
}

TEST(EventQueueTest, NoKindOfEventFillsMoreThanItsBytes) {
  constexpr size_t kMaxBytes = 1 << 18;
  for (int type = 1; type <= static_cast<int>(EventType::kGap); ++type) {
    const auto event = static_cast<EventType>(type);
    // Of those that are kept a run has one, or somebody asked for it.
    if (event == EventType::kStarted || event == EventType::kStopped ||
        event == EventType::kIntentDeclared || event == EventType::kIntentWithdrawn) {
      continue;
    }
    EventQueue queue(100'000, kMaxBytes);
    for (int i = 0; i < 2'500; ++i) queue.Push(Large(std::to_string(i % 4), event));
    EXPECT_LT(queue.bytes(), 2 * kMaxBytes) << type;
    EXPECT_GT(queue.dropped_events(), 2'250u) << type;
    const EventQueue::Batch batch = queue.Pop(absl::ZeroDuration());
    EXPECT_EQ(batch.updates.back().event->type, EventType::kGap);
    EXPECT_EQ(queue.bytes(), 0u);
  }
}

TEST(EventQueueTest, RunsThatBeginAndEndInAFullQueueAreLeftOutAsAWhole) {
  EventQueue queue(1);
  queue.Push(UpdateOf("public", EventType::kPaused));
  for (int i = 0; i < 10'000; ++i) {
    const std::string run = std::to_string(i);
    queue.Push(UpdateOf(run, EventType::kStarted));
    queue.Push(UpdateOf(run, EventType::kReset));
    queue.Push(UpdateOf(run, EventType::kStopped));
    EXPECT_EQ(queue.depth(), 1u);
  }
  queue.Push(UpdateOf("public", EventType::kStopped));
  queue.Push(UpdateOf("lives", EventType::kStarted));
  const EventQueue::Batch batch = queue.Pop(absl::ZeroDuration());
  EXPECT_THAT(Texts(batch), ElementsAre("public 6", "public 2", "lives 1", "node 20"));
  EXPECT_THAT(batch.updates.back().event->message, HasSubstr("30000 events"));
  EXPECT_EQ(queue.dropped_events(), 30'000u);
}

TEST(EventQueueTest, AStatusDoesNotMoveBeforeAnOlderOneOnceARunIsLeftOut) {
  EventQueue queue(3);
  queue.Push(UpdateOf("b", EventType::kStarted));
  queue.Push(UpdateOf("b", EventType::kReset));
  queue.Push(UpdateOf("b", EventType::kPaused));
  queue.Push(UpdateOf("a", std::nullopt, VmState::kRunning));
  queue.Push(UpdateOf("b", EventType::kStopped, VmState::kStopped));  // there is room again
  queue.Push(UpdateOf("a", std::nullopt, VmState::kPaused));
  queue.Push(UpdateOf("c", EventType::kStarted));
  queue.Push(UpdateOf("a", std::nullopt, VmState::kSuspended));
  const EventQueue::Batch batch = queue.Pop(absl::ZeroDuration());
  VmState newest = VmState::kUnreachable;
  for (const VmUpdate& update : batch.updates) {
    if (update.status.has_value() && update.status->ref.run_id == "a")
      newest = update.status->state;
  }
  EXPECT_EQ(newest, VmState::kSuspended);
}

TEST(EventQueueTest, ARunThatSomebodyAskedAboutIsNotLeftOut) {
  EventQueue queue(1);
  queue.Push(UpdateOf("a", EventType::kStarted));
  VmUpdate awaited = UpdateOf("a", EventType::kIntentDeclared);
  awaited.on_public = [] {};
  queue.Push(awaited);
  queue.Push(UpdateOf("a", EventType::kStopped));
  EXPECT_THAT(Texts(queue.Pop(absl::ZeroDuration())), ElementsAre("a 1", "a 18", "a 2"));
}

TEST(EventQueueTest, PassesUpdatesBetweenThreads) {
  constexpr int kUpdates = 10000;
  EventQueue queue(kUpdates);
  std::thread pusher([&queue] {
    for (int i = 0; i < kUpdates; ++i) queue.Push(UpdateOf(std::to_string(i), EventType::kReset));
    queue.Close();
  });
  int next = 0;
  bool in_order = true;
  for (bool closed = false; !closed;) {
    const EventQueue::Batch batch = queue.Pop(absl::InfiniteDuration());
    for (const VmUpdate& update : batch.updates) {
      in_order = in_order && update.status->ref.run_id == std::to_string(next++);
    }
    closed = batch.closed;
  }
  pusher.join();
  EXPECT_TRUE(in_order);
  EXPECT_EQ(next, kUpdates);
}

}  // namespace
}  // namespace vmeventd
