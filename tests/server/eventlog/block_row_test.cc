#include "server/eventlog/block_row.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/events/event_codec.h"
#include "tests/support/status_matchers.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const absl::Time kBegin = absl::FromUnixSeconds(1795157000);

v1::Event EventOf(uint64_t sequence, const std::string& name, absl::Duration after) {
  v1::Event event;
  event.set_sequence(sequence);
  event.set_type(v1::EVENT_TYPE_STOPPED);
  event.mutable_shutdown()->set_class_(v1::SHUTDOWN_CLASS_CRASH);
  *event.mutable_observe_time() = ToTimestamp(kBegin + after);
  if (!name.empty()) event.mutable_vm()->set_name(name);
  return event;
}

EventBlockPtr BlockOf(const std::vector<v1::Event>& events) {
  EventBlockBuilder builder;
  for (const v1::Event& event : events) builder.Add(event);
  return builder.Finish();
}

// A row that owns its texts.
struct Row {
  explicit Row(const StoredBlock::Columns& from)
      : columns(from), names(from.names), data(from.data) {
    columns.names = names;
    columns.data = data;
  }
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;
  StoredBlock::Columns columns;
  std::string names;
  std::string data;
};

class BlockRowTest : public ::testing::Test {
 protected:
  BlockRowTest() {
    row_.Add(
        *BlockOf({EventOf(7, "web1", absl::Seconds(5)), EventOf(8, "web1", absl::Seconds(1))}));
    row_.Add(*BlockOf({EventOf(9, "db", absl::Seconds(3))}));
  }
  BlockRowBuilder row_;
};

TEST_F(BlockRowTest, HasItsEventsAsTheyWere) {
  const Row row(row_.Finish(0));
  const absl::StatusOr<StoredBlock> stored = StoredBlock::Make(row.columns);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->first(), 7u);
  EXPECT_EQ(stored->last(), 9u);
  EXPECT_EQ(row.columns.earliest_ns, absl::ToUnixNanos(kBegin + absl::Seconds(1)));
  EXPECT_EQ(row.columns.latest_ns, absl::ToUnixNanos(kBegin + absl::Seconds(5)));
  EXPECT_EQ(stored->TimeOf(8), kBegin + absl::Seconds(1));
  EventBlockBuilder builder;
  EXPECT_EQ(stored->AppendTo(&builder, 7, 9, SIZE_MAX), 9u);
  const EventBlockPtr block = builder.Finish();
  ASSERT_EQ(block->size(), 3u);
  EXPECT_EQ(block->encodings().size(), stored->bytes());
  EXPECT_EQ(block->at(2).vm_name, "db");
  EXPECT_EQ(block->at(2).observe_time, kBegin + absl::Seconds(3));
  EXPECT_EQ(block->at(1).type, v1::EVENT_TYPE_STOPPED);
  EXPECT_EQ(block->at(1).shutdown_class, v1::SHUTDOWN_CLASS_CRASH);
  EXPECT_EQ(DecodeEventField(block->EncodedView(1)).sequence(), 8u);
}

TEST_F(BlockRowTest, JoinedFromRowsItIsTheSame) {
  const Row row(row_.Finish(0));
  BlockRowBuilder joined;
  int64_t latest_ns = 0;
  for (const v1::Event& event :
       {EventOf(7, "web1", absl::Seconds(5)), EventOf(8, "web1", absl::Seconds(1)),
        EventOf(9, "db", absl::Seconds(3))}) {
    BlockRowBuilder one;
    one.Add(*BlockOf({event}));
    const Row of_one(one.Finish(latest_ns));
    latest_ns = of_one.columns.latest_ns;
    const absl::StatusOr<StoredBlock> stored = StoredBlock::Make(of_one.columns);
    ASSERT_TRUE(stored.ok()) << stored.status();
    joined.Add(*stored);
  }
  const Row again(joined.Finish(latest_ns));
  EXPECT_EQ(again.columns.first, row.columns.first);
  EXPECT_EQ(again.columns.last, row.columns.last);
  EXPECT_EQ(again.columns.earliest_ns, row.columns.earliest_ns);
  EXPECT_EQ(again.columns.latest_ns, row.columns.latest_ns);
  EXPECT_EQ(again.names, row.names);
  EXPECT_EQ(again.data, row.data);
  EXPECT_EQ(again.columns.checksum, row.columns.checksum);
}

TEST_F(BlockRowTest, GivesAPartOfItsEventsInEitherOrder) {
  const Row row(row_.Finish(0));
  const StoredBlock stored = StoredBlock::Make(row.columns).value();
  std::vector<uint64_t> sequences;
  const auto take = [&](const EventBlock::Entry& key, absl::string_view encoded) {
    EXPECT_EQ(DecodeEventField(encoded).sequence(), key.sequence);
    sequences.push_back(key.sequence);
    return sequences.size() < 3;
  };
  EXPECT_TRUE(stored.ForEach(8, 9, true, take));
  EXPECT_FALSE(stored.ForEach(7, 8, false, take));
  EXPECT_THAT(sequences, ElementsAre(9, 8, 7));
  EventBlockBuilder builder;
  EXPECT_EQ(stored.AppendTo(&builder, 8, 9, 1), 8u) << "one at the least";
}

TEST_F(BlockRowTest, NamesItsVms) {
  const Row row(row_.Finish(0));
  EXPECT_THAT(row.names, HasSubstr(NameHash("web1")));
  EXPECT_THAT(row.names, HasSubstr(NameHash("db")));
  EXPECT_EQ(row.names.size(), 8u) << "each once";
  EXPECT_FALSE(StoredBlock::Make(row.columns)->has_node_events());
  row_.Add(*BlockOf({EventOf(10, "", absl::Seconds(9)), EventOf(11, "web1", absl::Seconds(9))}));
  const Row with_node(row_.Finish(0));
  EXPECT_TRUE(StoredBlock::Make(with_node.columns)->has_node_events());
  EXPECT_EQ(with_node.columns.first, 10u) << "it begins anew";
}

TEST_F(BlockRowTest, ItsLatestTimeNeverFalls) {
  const int64_t before = absl::ToUnixNanos(kBegin + absl::Hours(1));
  EXPECT_EQ(row_.Finish(before).latest_ns, before);
}

TEST_F(BlockRowTest, AFlippedBitAnywhereIsFound) {
  Row row(row_.Finish(0));
  const auto damaged = [&] { return absl::IsDataLoss(StoredBlock::Make(row.columns).status()); };
  EXPECT_FALSE(damaged());
  for (std::string* const text : {&row.names, &row.data}) {
    for (char& byte : *text) {
      for (int bit = 0; bit < 8; ++bit) {
        byte = static_cast<char>(byte ^ (1 << bit));
        EXPECT_TRUE(damaged());
        byte = static_cast<char>(byte ^ (1 << bit));
      }
    }
  }
  for (int bit = 0; bit < 63; ++bit) {
    const int64_t flip = int64_t{1} << bit;
    for (int64_t* const number :
         {&row.columns.earliest_ns, &row.columns.latest_ns, &row.columns.checksum}) {
      *number ^= flip;
      EXPECT_TRUE(damaged());
      *number ^= flip;
    }
    for (uint64_t* const number : {&row.columns.first, &row.columns.last}) {
      *number ^= static_cast<uint64_t>(flip);
      EXPECT_TRUE(damaged());
      *number ^= static_cast<uint64_t>(flip);
    }
  }
  EXPECT_FALSE(damaged());
  row.columns.data.remove_suffix(1);
  EXPECT_THAT(StoredBlock::Make(row.columns), Says("checksum of events 7 to 9"));
}

}  // namespace
}  // namespace vmeventd
