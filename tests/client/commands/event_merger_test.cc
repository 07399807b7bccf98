#include <string>
#include <vector>

#include "client/commands/merged.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class EventMergerTest : public testing::Test {
 protected:
  // An event that was observed at the second `observed`, which is also its sequence.
  void Add(size_t node, int observed) {
    EventMerger::Item item;
    item.node = node;
    item.event = MakeEvent(static_cast<uint64_t>(observed));
    item.event->mutable_observe_time()->set_seconds(observed);
    merger_.Add(std::move(item), now_);
  }
  void AddPosition(size_t node, uint64_t sequence) {
    EventMerger::Item item;
    item.node = node;
    item.position = WatchPosition{sequence, "journal"};
    merger_.Add(std::move(item), now_);
  }
  // The sequences of what need not wait.
  std::vector<uint64_t> Ready() {
    std::vector<uint64_t> sequences;
    while (const auto item = merger_.Take(now_)) {
      sequences.push_back(item->event ? item->event->sequence() : item->position->sequence);
    }
    return sequences;
  }

  absl::Time now_ = absl::UnixEpoch();
  EventMerger merger_{2};
};

TEST_F(EventMergerTest, OrdersByTimeWhileAllHaveEvents) {
  for (const int observed : {1, 4, 6}) Add(0, observed);
  for (const int observed : {2, 3, 5}) Add(1, observed);
  EXPECT_THAT(Ready(), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(merger_.NextTime(), now_ + EventMerger::kWindow);
}

TEST_F(EventMergerTest, AnEventWaitsForTheOthersForAWhile) {
  Add(0, 5);
  EXPECT_THAT(Ready(), IsEmpty());
  now_ += EventMerger::kWindow / 2;
  Add(1, 4);
  EXPECT_THAT(Ready(), ElementsAre(4));
  now_ += EventMerger::kWindow / 2;
  EXPECT_THAT(Ready(), ElementsAre(5));
  EXPECT_EQ(merger_.NextTime(), absl::InfiniteFuture());
}

TEST_F(EventMergerTest, TheEventsOfOneNodeKeepTheirOrderThoughItsClockWasSetBack) {
  Add(0, 9);
  Add(0, 1);
  Add(1, 5);
  now_ += EventMerger::kWindow;
  EXPECT_THAT(Ready(), ElementsAre(5, 9, 1));
}

TEST_F(EventMergerTest, ALongHistoryOfOneNodeDoesNotHoldUpTheOther) {
  Add(1, 1000);
  std::vector<uint64_t> all;
  for (int second = 0; second < 100; ++second) {
    Add(0, second);
    now_ += absl::Milliseconds(100);
    for (const uint64_t sequence : Ready()) all.push_back(sequence);
    if (!all.empty() && all.back() == 1000) break;
  }
  EXPECT_LE(now_, absl::UnixEpoch() + EventMerger::kLongestWait + absl::Milliseconds(200));
  EXPECT_THAT(all, testing::Contains(1000));
}

TEST_F(EventMergerTest, APositionWaitsForTheEventsBeforeItAlone) {
  Add(0, 5);
  AddPosition(0, 77);
  AddPosition(1, 88);
  EXPECT_THAT(Ready(), ElementsAre(88));
  now_ += EventMerger::kWindow;
  EXPECT_THAT(Ready(), ElementsAre(5, 77));
}

TEST_F(EventMergerTest, AtTheEndNothingWaits) {
  Add(0, 5);
  now_ = absl::InfiniteFuture();
  EXPECT_THAT(Ready(), ElementsAre(5));
}

}  // namespace
}  // namespace vmeventd::client
