#include "server/fleet/stored_messages.h"

#include <set>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/fake_fleet.h"

namespace vmeventd {
namespace {

constexpr auto kOfEvents = FleetSink::Where::kEvents;

class StoredMessagesTest : public testing::Test {
 protected:
  // Messages of a journal under the node's name, `gap` places apart.
  void Store(const std::string& journal, uint64_t count, uint64_t gap) {
    for (uint64_t i = 0; i < count; ++i) {
      sink_.last_stream_sequence += gap;
      sink_.stream.push_back({{journal, ++sequence_}, sink_.last_stream_sequence, {}});
    }
  }
  // The last message of a journal before a place; 0: there is none.
  uint64_t PlaceOfLast(const std::string& journal, uint64_t before) {
    const auto found = FindLast(&sink_, journal, 1, before);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() && found->has_value() ? (*found)->position.stream_sequence : 0;
  }

  FakeSink sink_;
  uint64_t sequence_ = 0;
};

TEST_F(StoredMessagesTest, TheLastMessageOfAJournalIsFoundBehindEveryOther) {
  Store("mine", 5, 3);
  Store("other", 4, 1);
  Store("mine", 1, 200);
  Store("other", 60, 5);
  Store("mine", 40, 1);
  for (uint64_t before = 1; before <= sink_.last_stream_sequence + 2; ++before) {
    uint64_t last = 0;
    for (const FakeSink::Stored& stored : sink_.stream) {
      const bool is = stored.id.journal_id == "mine" && stored.stream_sequence < before;
      if (is) last = stored.stream_sequence;
    }
    ASSERT_EQ(PlaceOfLast("mine", before), last) << before;
  }
  EXPECT_EQ(PlaceOfLast("nobodys", sink_.last_stream_sequence + 1), 0u);
}

TEST_F(StoredMessagesTest, TheLastMessageIsFoundWithFewQuestions) {
  Store("mine", 1'000, 1);
  sink_.last_stream_sequence = 1'000'000'000;
  Store("other", 1, 1);
  EXPECT_EQ(PlaceOfLast("mine", sink_.last_stream_sequence), 1'000u);
  EXPECT_LE(sink_.searches, 100);
}

TEST_F(StoredMessagesTest, BehindTooManyOthersNoneIsFound) {
  Store("mine", 1, 1);
  Store("other", kMaxPassed, 1);
  EXPECT_EQ(PlaceOfLast("mine", sink_.last_stream_sequence + 1), 1u);
  Store("other", 1, 1);
  EXPECT_EQ(PlaceOfLast("mine", sink_.last_stream_sequence + 1), 0u);
}

TEST_F(StoredMessagesTest, EachMessageOfARangeIsReadOnce) {
  Store("mine", 700, 1);
  Store("other", 3, 5'000);
  Store("mine", 50, 90);
  std::multiset<uint64_t> read;
  const uint64_t last = sink_.last_stream_sequence - 200;
  const auto up_to =
      ReadStored(&sink_, kOfEvents, 10, last, 10'000,
                 [&](const FleetStored& stored) { read.insert(stored.position.stream_sequence); });
  EXPECT_EQ(*up_to, last);
  std::multiset<uint64_t> expected;
  for (const FakeSink::Stored& stored : sink_.stream) {
    if (stored.stream_sequence >= 10 && stored.stream_sequence <= last) {
      expected.insert(stored.stream_sequence);
    }
  }
  EXPECT_EQ(read, expected);
}

TEST_F(StoredMessagesTest, AReadThatIsCutSaysUpToWhereItHasAll) {
  Store("mine", 5'000, 2);
  std::set<uint64_t> read;
  const auto up_to =
      ReadStored(&sink_, kOfEvents, 1, 10'000, 1'000,
                 [&](const FleetStored& stored) { read.insert(stored.position.stream_sequence); });
  ASSERT_LT(*up_to, 10'000u);
  for (uint64_t place = 2; place <= *up_to; place += 2) ASSERT_TRUE(read.contains(place)) << place;
}

TEST_F(StoredMessagesTest, WhatIsStoredBehindAPositionIsFoundAmongOthers) {
  Store("mine", 10, 2);
  Store("other", 2'000, 1);
  Store("mine", 2, 1);
  const auto after = [&](size_t limit) {
    return FindStored(&sink_, {"mine", 7, 14, ""}, sink_.last_stream_sequence, limit);
  };
  EXPECT_EQ(*after(5), (std::set<uint64_t>{8, 9, 10, 2'011, 2'012}));
  EXPECT_TRUE(absl::IsOutOfRange(after(4).status()));
}

}  // namespace
}  // namespace vmeventd
