#include "client/sources/watch_cursor.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/server_messages.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Plays what a server sends to a watch, over one stream or several: a stream ends where the next
// one is requested.
class WatchCursorTest : public testing::Test {
 protected:
  void Watch(WatchStart start) { cursor_ = WatchCursor(std::move(start)); }

  // What the next stream requests, in words.
  std::string Requested() const {
    v1::WatchEventsRequest request;
    cursor_.FillRequest(&request);
    switch (request.start_case()) {
      case v1::WatchEventsRequest::kAfterSequence:
        return absl::StrCat("after ", request.after_sequence(), " of ", request.journal_id());
      case v1::WatchEventsRequest::kSince:
        return absl::StrCat("since ", request.since().seconds());
      case v1::WatchEventsRequest::kFromOldest:
        return "the oldest";
      case v1::WatchEventsRequest::kSnapshot:
        return "a snapshot";
      case v1::WatchEventsRequest::START_NOT_SET:
        return "now";
    }
    return "";
  }

  // Events arrive. Returns those that are to be delivered.
  std::vector<uint64_t> Events(const std::vector<uint64_t>& sequences, bool durable = true) {
    std::vector<uint64_t> delivered;
    for (const uint64_t sequence : sequences) {
      v1::Event event = MakeEvent(sequence);
      event.set_durable(durable);
      if (cursor_.OnEvent(event)) delivered.push_back(sequence);
    }
    return delivered;
  }
  std::vector<uint64_t> EventsThatWaitForTheDisk(const std::vector<uint64_t>& sequences) {
    return Events(sequences, /*durable=*/false);
  }

  // A Progress arrives. False: it is a gap.
  bool Progress(uint64_t sequence, const std::string& journal = "a") {
    return cursor_.OnProgress(MakeProgress(sequence, journal));
  }
  bool ProgressWithDurable(uint64_t sequence, uint64_t durable) {
    v1::Progress progress = MakeProgress(sequence, "a");
    progress.set_durable_sequence(durable);
    return cursor_.OnProgress(progress);
  }

  WatchCursor cursor_{FromNow{}};
};

TEST_F(WatchCursorTest, TheFirstStreamBeginsWhereTheWatchDoes) {
  const std::pair<WatchStart, const char*> rows[] = {
      {FromNow{}, "now"},
      {FromOldest{}, "the oldest"},
      {FromSnapshot{}, "a snapshot"},
      {FromTime{absl::FromUnixSeconds(5)}, "since 5"},
      {FromSequence{7, "a"}, "after 7 of a"},
      {FromSequence{0, "a"}, "after 0 of a"}};
  for (const auto& [start, requested] : rows) {
    Watch(start);
    EXPECT_EQ(Requested(), requested);
  }
}

// Connections that are lost.

TEST_F(WatchCursorTest, AfterALostConnectionTheNextStreamFollowsTheLastEvent) {
  Progress(10);
  EXPECT_THAT(Events({11, 12}), ElementsAre(11, 12));
  EXPECT_EQ(Requested(), "after 12 of a");
  EXPECT_TRUE(Progress(12));
  EXPECT_THAT(Events({13}), ElementsAre(13));
  EXPECT_EQ(Requested(), "after 13 of a");
}

TEST_F(WatchCursorTest, WhatHappensAfterAWatchBeganIsNotMissedThoughItSawNoEvent) {
  for (const WatchStart& start :
       {WatchStart(FromNow{}), WatchStart(FromTime{absl::FromUnixSeconds(5)})}) {
    Watch(start);
    EXPECT_TRUE(Progress(10));
    EXPECT_EQ(Requested(), "after 10 of a");
  }
}

TEST_F(WatchCursorTest, AnEmptyJournalIsAPositionToo) {
  EXPECT_TRUE(Progress(0));
  EXPECT_EQ(Requested(), "after 0 of a");
  EXPECT_THAT(Events({1}), ElementsAre(1));
}

TEST_F(WatchCursorTest, AProgressPassesWhatTheFilterLeavesOut) {
  Progress(10);
  Events({11});
  EXPECT_TRUE(Progress(5'000));
  EXPECT_EQ(Requested(), "after 5000 of a");
}

TEST_F(WatchCursorTest, NothingMovesThePositionBack) {
  Watch(FromSequence{12, "a"});
  EXPECT_TRUE(Progress(10));
  EXPECT_THAT(Events({11, 12}), IsEmpty());
  EXPECT_EQ(Requested(), "after 12 of a");
  EXPECT_THAT(Events({13}), ElementsAre(13));
}

// Events that a crash of the daemon may lose.

TEST_F(WatchCursorTest, EventsThatAreNotDurableAreRequestedAgainAndDeliveredOnce) {
  Progress(10);
  EXPECT_THAT(EventsThatWaitForTheDisk({11, 12, 13}), ElementsAre(11, 12, 13));
  EXPECT_EQ(Requested(), "after 10 of a");
  Progress(10);
  EXPECT_THAT(Events({11, 13, 14}), ElementsAre(14));
  EXPECT_EQ(Requested(), "after 14 of a");
}

// A daemon that crashed numbers new events beyond those that it lost.
TEST_F(WatchCursorTest, AfterACrashTheEventsThatComeInPlaceOfThoseThatItLostAreDelivered) {
  Progress(10);
  EventsThatWaitForTheDisk({11, 12, 13});
  EXPECT_EQ(Requested(), "after 10 of a");
  EXPECT_TRUE(Progress(10));
  EXPECT_THAT(Events({11}), IsEmpty());
  EXPECT_THAT(Events({100'001}), ElementsAre(100'001));
  EXPECT_EQ(Requested(), "after 100001 of a");
}

TEST_F(WatchCursorTest, ADurableEventShowsThatThoseBeforeItAreDurable) {
  Progress(10);
  EventsThatWaitForTheDisk({11, 12});
  Events({13});
  EXPECT_EQ(Requested(), "after 13 of a");
}

TEST_F(WatchCursorTest, ThePositionIsTheSmallerOfWhatArrivedAndWhatIsDurable) {
  Progress(10);
  EventsThatWaitForTheDisk({11, 12, 13});
  ProgressWithDurable(13, 12);
  EXPECT_EQ(Requested(), "after 12 of a");
  ProgressWithDurable(13, 99);
  EXPECT_EQ(Requested(), "after 13 of a");
  ProgressWithDurable(20, 15);
  EXPECT_EQ(Requested(), "after 15 of a");
}

// Snapshots.

TEST_F(WatchCursorTest, AnIncompleteSnapshotIsRequestedAgain) {
  Watch(FromSnapshot{});
  EXPECT_TRUE(Progress(0));
  EXPECT_TRUE(cursor_.AwaitsSnapshot());
  EXPECT_TRUE(Progress(10)) << "of an interval in which VMs are still sent";
  EXPECT_EQ(cursor_.position(), std::nullopt);
  EXPECT_EQ(Requested(), "a snapshot");
}

TEST_F(WatchCursorTest, ACompleteSnapshotIsFollowedByWhatHappensAfterIt) {
  Watch(FromSnapshot{});
  Progress(0);
  cursor_.OnSnapshotDone(MakeProgress(10, "a"));
  EXPECT_FALSE(cursor_.AwaitsSnapshot());
  EXPECT_EQ(Requested(), "after 10 of a");
  EXPECT_THAT(Events({11}), ElementsAre(11));
}

TEST_F(WatchCursorTest, EventsThatTheSnapshotHasAreNotDeliveredWhenTheyBecomeDurable) {
  Watch(FromSnapshot{});
  Progress(0);
  v1::Progress done = MakeProgress(10, "a");
  done.set_durable_sequence(8);
  cursor_.OnSnapshotDone(done);
  EXPECT_EQ(Requested(), "after 8 of a");
  EXPECT_THAT(Events({9, 10, 11}), ElementsAre(11));
}

TEST_F(WatchCursorTest, AJournalThatIsReplacedDuringASnapshotIsNoGap) {
  Watch(FromSnapshot{});
  Progress(0);
  EXPECT_TRUE(Progress(0, "b"));
  cursor_.OnSnapshotDone(MakeProgress(3, "b"));
  EXPECT_EQ(Requested(), "after 3 of b");
}

// Positions that are lost.

TEST_F(WatchCursorTest, ARestartWithAnotherJournalIsOneGapAndItsSequencesBeginAgain) {
  Progress(10);
  Events({11});
  EXPECT_FALSE(Progress(0, "b"));
  EXPECT_EQ(cursor_.position(), (WatchPosition{0, "b"}));
  EXPECT_THAT(Events({1, 2}), ElementsAre(1, 2));
  EXPECT_TRUE(Progress(2, "b"));
  EXPECT_EQ(Requested(), "after 2 of b");
}

TEST_F(WatchCursorTest, TheFirstJournalIsNoGapButAnotherOneThanRequestedIs) {
  EXPECT_TRUE(Progress(10));
  Watch(FromSequence{7, "a"});
  EXPECT_FALSE(Progress(7, "b"));
}

TEST_F(WatchCursorTest, WhereThePositionIsGoneItContinuesWithTheOldestAndAGap) {
  for (const WatchStart& start :
       {WatchStart(FromTime{absl::FromUnixSeconds(5)}), WatchStart(FromSequence{12, "a"})}) {
    Watch(start);
    EXPECT_TRUE(cursor_.OnOutOfRange(/*damaged=*/false));
    EXPECT_EQ(cursor_.position(), std::nullopt);
    EXPECT_EQ(Requested(), "the oldest");
    EXPECT_TRUE(Progress(39));
    EXPECT_THAT(Events({40}), ElementsAre(40));
    EXPECT_EQ(Requested(), "after 40 of a");
  }
}

TEST_F(WatchCursorTest, EventsOfAnotherJournalAreDeliveredThoughTheirSequencesWereReached) {
  Progress(10);
  Events({11, 12});
  cursor_.OnOutOfRange(/*damaged=*/false);
  EXPECT_TRUE(Progress(0, "b"));
  EXPECT_THAT(Events({1, 2}), ElementsAre(1, 2));
}

TEST_F(WatchCursorTest, AnOldestEventThatIsDeletedTooIsNoFurtherGap) {
  Watch(FromSequence{12, "a"});
  EXPECT_TRUE(cursor_.OnOutOfRange(/*damaged=*/false));
  EXPECT_FALSE(cursor_.OnOutOfRange(/*damaged=*/false));
  EXPECT_EQ(Requested(), "the oldest");
  Progress(39);
  EXPECT_TRUE(cursor_.OnOutOfRange(/*damaged=*/false)) << "it was reached, and then overtaken";
}

// From the oldest event it would reach the damage again and again.
TEST_F(WatchCursorTest, WhereTheJournalIsDamagedItContinuesWithNewEventsAndAGap) {
  for (const WatchStart& start : {WatchStart(FromOldest{}), WatchStart(FromSequence{12, "a"})}) {
    Watch(start);
    EXPECT_TRUE(cursor_.OnOutOfRange(/*damaged=*/true));
    EXPECT_EQ(Requested(), "now");
  }
}

}  // namespace
}  // namespace vmeventd::client
