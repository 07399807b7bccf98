#include "server/eventlog/publication_queue.h"

#include <cstdint>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

constexpr absl::Duration kNow = absl::Seconds(100);
constexpr absl::Duration kPatience = PublicationQueue::kPatience;

// A backlog with a journal that is open, and the turns after it.
class PublicationQueueTest : public testing::Test {
 protected:
  PublicationQueueTest() {
    const Backlog::Task open = backlog_.Begin(kNow, false);
    backlog_.TakeJournal({}, /*created=*/true, {}, {}, kNow);
    backlog_.End(open, {.at = kNow});
  }
  // Adds a turn at `at`; with a batch, it waits for the disk.
  void Add(absl::Duration at, bool has_batch) {
    UnpublishedTurn turn{.turn = ++turns_, .added = at, .has_batch = has_batch};
    turn.observed.push_back(at);
    if (has_batch) {
      Backlog::Changes changes{.turn = turn.turn, .added = at};
      changes.batch.Put("run", {"state", 0});
      backlog_.Add(changes);
    }
    queue_.Add(std::move(turn));
  }

  Backlog backlog_{1 << 20, 0, {}};
  PublicationQueue queue_;
  uint64_t turns_ = 0;
};

TEST_F(PublicationQueueTest, ATurnWithNothingToWriteIsDueAtOnce) {
  EXPECT_EQ(queue_.NextDue(backlog_, kNow), absl::InfiniteDuration());
  Add(kNow, /*has_batch=*/false);
  EXPECT_EQ(queue_.NextDue(backlog_, kNow), absl::ZeroDuration());
  EXPECT_THAT(queue_.TakeDue(backlog_, kNow), SizeIs(1));
  EXPECT_TRUE(queue_.empty());
}

TEST_F(PublicationQueueTest, ATurnWaitsForTheDiskUntilPatienceEndsAndIsNotDurableThen) {
  Add(kNow, /*has_batch=*/true);
  EXPECT_EQ(queue_.NextDue(backlog_, kNow), kNow + kPatience);
  EXPECT_THAT(queue_.TakeDue(backlog_, kNow + kPatience - absl::Nanoseconds(1)), IsEmpty());
  const auto due = queue_.TakeDue(backlog_, kNow + kPatience);
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_THAT(due.front().observed, IsEmpty());
}

TEST_F(PublicationQueueTest, AWrittenTurnIsDueAndDurable) {
  Add(kNow, /*has_batch=*/true);
  for (Backlog::Task task = backlog_.Begin(kNow, false); task.work != Backlog::Work::kNone;
       task = backlog_.Begin(kNow, false)) {
    backlog_.End(task, {.at = kNow});
  }
  const auto due = queue_.TakeDue(backlog_, kNow);
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_THAT(due.front().observed, SizeIs(1));
}

TEST_F(PublicationQueueTest, NothingWaitsForADiskThatFails) {
  Add(kNow, /*has_batch=*/true);
  backlog_.Fail(absl::UnavailableError("I/O error"), kNow);
  EXPECT_THAT(queue_.TakeDue(backlog_, kNow), SizeIs(1));
}

TEST_F(PublicationQueueTest, TurnsBecomePublicInOrder) {
  Add(kNow, /*has_batch=*/true);
  Add(kNow, /*has_batch=*/false);
  EXPECT_THAT(queue_.TakeDue(backlog_, kNow), IsEmpty()) << "the first one waits for the disk";
  EXPECT_THAT(queue_.TakeDue(backlog_, kNow + kPatience), SizeIs(2));
}

}  // namespace
}  // namespace vmeventd
