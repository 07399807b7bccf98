#include <cstdint>

#include "client/commands/daemon_source.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

v1::WatchEventsRequest NextRequest(const WatchCursor& cursor) {
  v1::WatchEventsRequest request;
  cursor.FillRequest(&request);
  return request;
}

TEST(WatchCursor, BeginsAtTheRequestedStart) {
  EXPECT_EQ(NextRequest(WatchCursor(FromNow{})).start_case(),
            v1::WatchEventsRequest::START_NOT_SET);
  EXPECT_TRUE(NextRequest(WatchCursor(FromOldest{})).from_oldest());
  EXPECT_TRUE(NextRequest(WatchCursor(FromSnapshot{})).snapshot());
  EXPECT_EQ(NextRequest(WatchCursor(FromTime{absl::FromUnixSeconds(5)})).since().seconds(), 5);
  const auto request = NextRequest(WatchCursor(FromSequence{0, "journal-a"}));
  EXPECT_EQ(request.start_case(), v1::WatchEventsRequest::kAfterSequence);
  EXPECT_EQ(request.journal_id(), "journal-a");
}

v1::Event NotDurable(uint64_t sequence) {
  v1::Event event = MakeEvent(sequence);
  event.set_durable(false);
  return event;
}

v1::Event Gap(uint64_t sequence) {
  v1::Event event = MakeEvent(sequence);
  event.clear_vm();
  event.set_type(v1::EVENT_TYPE_GAP);
  return event;
}

v1::Progress Durable(uint64_t sequence, uint64_t durable) {
  v1::Progress progress = MakeProgress(sequence);
  progress.set_durable_sequence(durable);
  return progress;
}

// A watch at position 10 that has shown 11 to 13, not durable.
class CursorBeforeWhatIsNotDurable : public testing::Test {
 protected:
  CursorBeforeWhatIsNotDurable() {
    cursor_.OnProgress(MakeProgress(10));
    for (const uint64_t sequence : {11, 12, 13}) {
      EXPECT_TRUE(cursor_.OnEvent(NotDurable(sequence)));
    }
  }
  uint64_t position() const { return NextRequest(cursor_).after_sequence(); }

  WatchCursor cursor_{FromNow{}};
};

TEST_F(CursorBeforeWhatIsNotDurable, ThePositionIsTheSmallerOfTheSequenceAndTheDurableOne) {
  EXPECT_EQ(position(), 10U);
  cursor_.OnProgress(Durable(20, 10));
  EXPECT_EQ(position(), 10U);
  cursor_.OnProgress(Durable(20, 12));
  EXPECT_EQ(position(), 12U);
  cursor_.OnProgress(Durable(20, 99));
  EXPECT_EQ(position(), 20U);
}

TEST_F(CursorBeforeWhatIsNotDurable, ADurableEventShowsThatThoseBeforeItAreAsWell) {
  EXPECT_TRUE(cursor_.OnEvent(MakeEvent(14)));
  EXPECT_EQ(position(), 14U);
}

TEST_F(CursorBeforeWhatIsNotDurable, WhatComesAgainOnTheNextStreamIsShownOnce) {
  cursor_.OnProgress(MakeProgress(10));
  EXPECT_FALSE(cursor_.OnEvent(MakeEvent(11)));
  EXPECT_EQ(position(), 11U);
  EXPECT_FALSE(cursor_.OnEvent(MakeEvent(13)));
  EXPECT_TRUE(cursor_.OnEvent(MakeEvent(14)));
  EXPECT_EQ(position(), 14U);
}

TEST_F(CursorBeforeWhatIsNotDurable, TheGapThatNamesWhatIsLostIsShown) {
  cursor_.OnProgress(MakeProgress(10));
  EXPECT_TRUE(cursor_.OnEvent(Gap(100'001)));
  EXPECT_EQ(position(), 100'001U);
}

TEST_F(CursorBeforeWhatIsNotDurable, AnotherJournalCountsFromItsOwnPosition) {
  EXPECT_FALSE(cursor_.OnProgress(MakeProgress(20, "journal-b")));
  EXPECT_TRUE(cursor_.OnEvent(MakeEvent(21)));
  EXPECT_EQ(position(), 21U);
}

}  // namespace
}  // namespace vmeventd::client
