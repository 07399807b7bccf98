#include "server/eventlog/backlog.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/eventlog/journal.h"

namespace vmeventd {
namespace {

using Work = Backlog::Work;
using testing::IsEmpty;

constexpr size_t kMaxBytes = 8 << 10;

// A journal that takes what it is given, in seconds of a clock that the test sets.
class BacklogTest : public testing::Test {
 protected:
  // An event of about a kilobyte, as a turn of its own.
  Backlog::Changes Event(uint64_t sequence) const {
    v1::Event event;
    event.set_sequence(sequence);
    event.set_message(std::string(1000, 'x'));
    Backlog::Changes changes{.turn = sequence, .added = now_};
    changes.batch.Put(Logged(std::move(event)));
    return changes;
  }
  // Adds such an event; returns its sequence.
  uint64_t Add() {
    backlog_.Add(Event(++last_assigned_));
    return last_assigned_;
  }
  void OpenJournal() {
    const Backlog::Task task = backlog_.Begin(now_, false);
    ASSERT_EQ(task.work, Work::kOpen);
    backlog_.TakeJournal(bounds_, true, {}, {}, now_);
    End(task);
    ASSERT_EQ(Step(), Work::kMark);
    while (Step() != Work::kNone) {
    }
  }
  void End(const Backlog::Task& task, const absl::Status& status = absl::OkStatus()) {
    if (task.work == Work::kAppend && status.ok() && !task.batch->events.empty()) {
      bounds_.newest = task.batch->events.back()->sequence;
    }
    backlog_.End(task, {.status = status, .at = now_, .bounds = bounds_});
  }
  Work Step(const absl::Status& status = absl::OkStatus()) {
    const Backlog::Task task = backlog_.Begin(now_, false);
    if (task.work != Work::kNone) End(task, status);
    return task.work;
  }
  // Adds more than there is room for, and drops the oldest. Returns the events that were dropped.
  size_t Overflow() {
    while (backlog_.bytes() <= kMaxBytes) Add();
    size_t events = 0;
    while (const std::optional<Backlog::Dropped> dropped = backlog_.DropOldest(now_)) {
      events += dropped->events;
    }
    return events;
  }

  absl::Duration now_ = absl::Seconds(100);
  uint64_t last_assigned_ = 0;
  JournalBounds bounds_;
  Backlog backlog_{kMaxBytes, 0, {}};
};

TEST_F(BacklogTest, TheJournalIsOpenedFirstThenMarkedThenWritten) {
  Add();
  EXPECT_EQ(backlog_.NextWrite(), absl::ZeroDuration());
  const Backlog::Task open = backlog_.Begin(now_, false);
  ASSERT_EQ(open.work, Work::kOpen);
  EXPECT_EQ(backlog_.Begin(now_, false).work, Work::kNone);  // one at a time
  backlog_.TakeJournal(bounds_, true, {}, {}, now_);
  End(open);
  EXPECT_EQ(Step(), Work::kMark);
  EXPECT_FALSE(backlog_.IsWritten(1));
  EXPECT_EQ(Step(), Work::kRetain);
  EXPECT_EQ(Step(), Work::kAppend);
  EXPECT_TRUE(backlog_.IsWritten(1));
  EXPECT_EQ(Step(), Work::kNone);
  EXPECT_EQ(backlog_.NextWrite(), now_ + Journal::kExpiry);
  EXPECT_EQ(backlog_.bytes(), 0);
}

TEST_F(BacklogTest, AFailedWriteIsRetriedBeforeLaterEvents) {
  OpenJournal();
  Add();
  bounds_.newest = 1;
  EXPECT_EQ(Step(absl::UnavailableError("disk full")), Work::kAppend);
  EXPECT_EQ(backlog_.bounds().newest, 0);
  EXPECT_FALSE(backlog_.IsWritable(now_));
  EXPECT_EQ(Step(), Work::kNone);
  EXPECT_EQ(backlog_.NextWrite(), now_ + Backlog::kRetry);
  Add();
  now_ += Backlog::kRetry;
  const Backlog::Task again = backlog_.Begin(now_, false);
  ASSERT_EQ(again.work, Work::kAppend);
  EXPECT_EQ(again.batch->events.front()->sequence, 1);
  End(again);
  EXPECT_TRUE(backlog_.IsWritable(now_));
}

TEST_F(BacklogTest, ASlowWriteIsReportedForALimitedTime) {
  OpenJournal();
  Add();
  const Backlog::Task slow = backlog_.Begin(now_, false);
  EXPECT_EQ(backlog_.NextChange(true, now_), now_ + Backlog::kMaxCommit);
  now_ += Backlog::kMaxCommit;
  EXPECT_FALSE(backlog_.IsWritable(now_));
  End(slow);
  EXPECT_TRUE(backlog_.IsWritable(now_));
  EXPECT_FALSE(backlog_.IsSettled(now_));
  EXPECT_EQ(backlog_.NextChange(false, now_), now_ + Backlog::kSettled);
  now_ += Backlog::kSettled;
  EXPECT_TRUE(backlog_.IsSettled(now_));
}

TEST_F(BacklogTest, NothingIsDroppedWhileTheDiskWorks) {
  OpenJournal();
  EXPECT_EQ(Overflow(), 0);
  EXPECT_TRUE(backlog_.hole().empty());
}

TEST_F(BacklogTest, OnceTheDiskWorksOneGapNamesAllDroppedEvents) {
  OpenJournal();
  Add();
  ASSERT_EQ(Step(absl::UnavailableError("I/O error")), Work::kAppend);
  EXPECT_GT(Overflow(), 0);
  EXPECT_LE(backlog_.bytes(), kMaxBytes);
  EXPECT_EQ(backlog_.hole().first, 1);
  EXPECT_FALSE(backlog_.GapIsDue());  // it may still grow
  now_ += Backlog::kRetry;
  ASSERT_EQ(Step(), Work::kAppend);
  EXPECT_TRUE(backlog_.GapIsDue());
  const uint64_t last_dropped = backlog_.hole().last;
  const std::optional<NodeGap> named = backlog_.TakeGap(last_assigned_ + 1);
  ASSERT_TRUE(named.has_value());
  EXPECT_EQ(named->reason, GapReason::kNotWritten);
  EXPECT_EQ(named->missing.last, last_dropped);
  EXPECT_EQ(named->message, absl::StrCat("the events 1 to ", last_dropped,
                                         " are lost: more than 32 MiB waited for the disk"));
  const uint64_t gap = Add();
  while (bounds_.newest < gap) {
    EXPECT_FALSE(backlog_.hole().empty());
    ASSERT_EQ(Step(), Work::kAppend);
  }
  EXPECT_TRUE(backlog_.hole().empty());
  EXPECT_FALSE(backlog_.GapIsDue());
}

TEST_F(BacklogTest, ABatchShowsWhetherItHasTheGapForTheMissingSequences) {
  backlog_.Begin(now_, false);
  backlog_.TakeJournal(bounds_, true, {.first = 1, .last = 5}, {}, now_);
  backlog_.End({.work = Work::kOpen}, {.at = now_, .bounds = bounds_});
  ASSERT_EQ(Step(), Work::kMark);
  ASSERT_EQ(Step(), Work::kRetain);
  last_assigned_ = 5;
  Add();
  EXPECT_TRUE(backlog_.GapIsDue());
  Backlog::Task task = backlog_.Begin(now_, false);
  EXPECT_EQ(task.batch->hole.last, 5);
  EXPECT_FALSE(task.batch->hole_is_named);
  End(task);
  ASSERT_TRUE(backlog_.TakeGap(last_assigned_ + 1).has_value());
  Add();
  task = backlog_.Begin(now_, false);
  EXPECT_TRUE(task.batch->hole_is_named);
}

TEST_F(BacklogTest, HandedOverEventsThatAreInTheJournalAreNotWrittenAgain) {
  Backlog backlog(kMaxBytes, 3, {});
  for (uint64_t sequence = 1; sequence <= 3; ++sequence) backlog.Add(Event(sequence));
  bounds_.newest = 2;
  backlog.Begin(now_, false);
  backlog.TakeJournal(bounds_, false, {}, {}, now_);
  EXPECT_EQ(backlog.CountEvents(), 1);
  EXPECT_TRUE(backlog.hole().empty());
}

TEST_F(BacklogTest, AssignedSequencesWithoutAnEventAreReportedAsAHole) {
  Backlog backlog(kMaxBytes, 7, {});
  bounds_.newest = 2;
  backlog.TakeJournal(bounds_, false, {}, {}, now_);
  EXPECT_EQ(backlog.hole().first, 3);
  EXPECT_EQ(backlog.hole().last, 7);
  const std::optional<NodeGap> named = backlog.TakeGap(8);
  ASSERT_TRUE(named.has_value());
  EXPECT_EQ(named->missing.first, 3);
  EXPECT_EQ(named->message,
            "events that vmeventd had seen and not written when it ended may be lost; the last one "
            "written is 2");
}

TEST_F(BacklogTest, SavedRunsThatTheWatcherDoesNotReportAreRemoved) {
  backlog_.TakeJournal(bounds_, false, {}, {{"run-1", {"state", 4}}}, now_);
  const JournalBatch all = backlog_.All();
  ASSERT_EQ(all.runs.count("run-1"), 1);
  EXPECT_THAT(all.runs.at("run-1").payload, IsEmpty());
}

TEST_F(BacklogTest, EvidenceIsRefusedLast) {
  OpenJournal();
  EXPECT_TRUE(backlog_.Accept(false));
  while (backlog_.bytes() < 2 * kMaxBytes) Add();
  EXPECT_FALSE(backlog_.Accept(false));
  EXPECT_TRUE(backlog_.Accept(true));
  while (backlog_.bytes() < 4 * kMaxBytes) Add();
  EXPECT_FALSE(backlog_.Accept(true));
  EXPECT_EQ(backlog_.refused(), 2);
}

TEST_F(BacklogTest, OneGapCountsTheRefusedEventsOnceThereIsRoom) {
  OpenJournal();
  while (backlog_.bytes() < 2 * kMaxBytes) Add();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(backlog_.Accept(false));
  EXPECT_FALSE(backlog_.GapIsDue());
  EXPECT_FALSE(backlog_.TakeGap(last_assigned_ + 1).has_value());
  while (Step() == Work::kAppend) {
  }
  EXPECT_TRUE(backlog_.GapIsDue());
  const std::optional<NodeGap> gap = backlog_.TakeGap(last_assigned_ + 1);
  ASSERT_TRUE(gap.has_value());
  EXPECT_EQ(gap->reason, GapReason::kQueueFull);
  EXPECT_EQ(gap->message, "3 events of VMs were dropped: more than 64 MiB waited to be recorded");
  EXPECT_TRUE(gap->missing.empty());
  EXPECT_FALSE(backlog_.TakeGap(last_assigned_ + 1).has_value());
  EXPECT_EQ(backlog_.refused(), 3);
}

TEST_F(BacklogTest, TheReservedSequencesGrowBeforeTheyAreUsedUp) {
  OpenJournal();
  backlog_.Reserve(kReservedSequences / 2 - 1);
  EXPECT_EQ(Step(), Work::kNone);
  backlog_.Reserve(kReservedSequences / 2);
  const Backlog::Task mark = backlog_.Begin(now_, false);
  EXPECT_EQ(mark.work, Work::kMark);
  EXPECT_EQ(mark.mark, kReservedSequences / 2 + kReservedSequences);
}

TEST_F(BacklogTest, TheWatchedTimeIsRecordedAfterTheEventsBeforeIt) {
  OpenJournal();
  const uint64_t turn = Add();
  backlog_.Watched(absl::FromUnixSeconds(7), turn);
  EXPECT_EQ(Step(), Work::kAppend);
  const Backlog::Task alive = backlog_.Begin(now_, false);
  ASSERT_EQ(alive.work, Work::kAlive);
  EXPECT_EQ(alive.alive, absl::FromUnixSeconds(7));
  End(alive);
  EXPECT_EQ(Step(), Work::kNone);
}

TEST_F(BacklogTest, RetentionAndEventsTakeTurns) {
  OpenJournal();
  Add();
  Backlog::Task task = backlog_.Begin(now_, true);
  ASSERT_EQ(task.work, Work::kRetain);
  backlog_.End(task, {.at = now_, .bounds = bounds_, .retains_at_once = true});
  task = backlog_.Begin(now_, true);
  EXPECT_EQ(task.work, Work::kAppend);
  End(task);
  EXPECT_EQ(backlog_.Begin(now_, true).work, Work::kRetain);
}

TEST_F(BacklogTest, ClosingWritesWaitingEventsAndThenTheNewestSequence) {
  OpenJournal();
  Add();
  backlog_.CloseAt(last_assigned_);
  EXPECT_EQ(Step(), Work::kAppend);
  const Backlog::Task mark = backlog_.Begin(now_, true);
  ASSERT_EQ(mark.work, Work::kMark);
  EXPECT_EQ(mark.mark, last_assigned_);
  End(mark);
  EXPECT_FALSE(backlog_.closed());
  EXPECT_EQ(Step(), Work::kNone);
  EXPECT_TRUE(backlog_.closed());
  EXPECT_EQ(backlog_.NextWrite(), absl::InfiniteDuration());
}

TEST_F(BacklogTest, AFailedWriteIsNotRetriedWhileClosing) {
  OpenJournal();
  Add();
  backlog_.CloseAt(last_assigned_);
  EXPECT_EQ(Step(absl::UnavailableError("disk full")), Work::kAppend);
  EXPECT_TRUE(backlog_.closed());
}

TEST_F(BacklogTest, NothingIsWrittenToADamagedJournal) {
  OpenJournal();
  const Backlog::Task task = [&] {
    Add();
    return backlog_.Begin(now_, false);
  }();
  backlog_.Fail(absl::DataLossError("garbled"), now_);  // a reader found the damage meanwhile
  End(task);
  EXPECT_TRUE(absl::IsDataLoss(backlog_.status()));
  Add();
  now_ += absl::Hours(1);
  EXPECT_EQ(Step(), Work::kNone);
  backlog_.CloseAt(last_assigned_);
  EXPECT_TRUE(backlog_.closed());
}

}  // namespace
}  // namespace vmeventd
