#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

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

// A server that keeps the contract, with a log of `matching` sequences whose newest is `newest`,
// and streams that break off after `messages` messages.
class ContractServer {
 public:
  explicit ContractServer(std::mt19937* random) : random_(random) {}

  void Append() {
    ++newest_;
    if (Draw(3) == 0) matching_.push_back(newest_);
  }

  // Runs one stream. Returns the events that the cursor accepted.
  std::vector<uint64_t> Stream(WatchCursor* cursor, int messages) {
    const auto request = NextRequest(*cursor);
    uint64_t sent = request.from_oldest() ? 0 : newest_;
    if (request.start_case() == v1::WatchEventsRequest::kAfterSequence) {
      sent = request.after_sequence();
    }
    std::vector<uint64_t> delivered;
    if (messages == 0) return delivered;
    EXPECT_TRUE(cursor->OnProgress(MakeProgress(sent)));
    for (int i = 1; i < messages; ++i) {
      if (Draw(2) == 0) Append();
      const auto next = std::upper_bound(matching_.begin(), matching_.end(), sent);
      if (next == matching_.end()) {
        sent = newest_;
        EXPECT_TRUE(cursor->OnProgress(MakeProgress(sent)));
        continue;
      }
      sent = *next;
      if (cursor->OnEvent(MakeEvent(sent))) delivered.push_back(sent);
    }
    return delivered;
  }

  const std::vector<uint64_t>& matching() const { return matching_; }

 private:
  int Draw(int below) { return std::uniform_int_distribution<int>(0, below - 1)(*random_); }

  std::mt19937* const random_;
  std::vector<uint64_t> matching_;
  uint64_t newest_ = 0;
};

TEST(WatchCursor, LosesAndRepeatsNothingHoweverStreamsBreakOff) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    std::mt19937 random(seed);
    ContractServer server(&random);
    for (int i = 0; i < 20; ++i) server.Append();
    WatchCursor cursor(FromOldest{});
    std::vector<uint64_t> delivered;
    for (int stream = 0; stream < 30; ++stream) {
      const auto part = server.Stream(&cursor, std::uniform_int_distribution<int>(0, 6)(random));
      delivered.insert(delivered.end(), part.begin(), part.end());
      for (int i = 0; i < 3; ++i) server.Append();
    }
    const auto rest = server.Stream(&cursor, 2000);
    delivered.insert(delivered.end(), rest.begin(), rest.end());
    // The last few were appended while the last stream ended.
    ASSERT_GE(delivered.size() + 2, server.matching().size()) << "seed " << seed;
    ASSERT_TRUE(std::equal(delivered.begin(), delivered.end(), server.matching().begin()))
        << "seed " << seed;
  }
}

}  // namespace
}  // namespace vmeventd::client
