#include "server/stream_cursor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "server/raw_message.h"
#include "tests/server/test_events.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

StreamCursor Cursor(const EventStore& store, const WatchStart& start,
                    const v1::EventFilter& filter = {}) {
  EventMatcher matcher(filter);
  StreamBegin begin = store.Begin(start, matcher.names()).value();
  return StreamCursor(&store, std::move(begin), std::move(matcher),
                      std::holds_alternative<FromSnapshot>(start));
}

v1::WatchEventsResponse Next(StreamCursor* cursor, bool beat = false) {
  const absl::StatusOr<std::optional<grpc::ByteBuffer>> message = cursor->Next(At(0), beat);
  v1::WatchEventsResponse response;
  EXPECT_TRUE(message.ok()) << message.status();
  EXPECT_TRUE(message.ok() && message->has_value()) << "nothing to say";
  if (message.ok() && message->has_value()) {
    EXPECT_TRUE(ParseMessage(**message, &response).ok());
  }
  return response;
}

bool SaysNothing(StreamCursor* cursor) {
  const absl::StatusOr<std::optional<grpc::ByteBuffer>> message = cursor->Next(At(0), false);
  return message.ok() && !message->has_value();
}

std::vector<uint64_t> Sequences(const v1::WatchEventsResponse& response) {
  std::vector<uint64_t> out;
  for (const v1::Event& event : response.events()) out.push_back(event.sequence());
  return out;
}

TEST(StreamCursor, OpensWithItsPlace) {
  PumpedStore pumped;
  pumped.PushEach("a", 3);
  StreamCursor cursor = Cursor(pumped.store(), FromNow{});
  const v1::WatchEventsResponse first = Next(&cursor);
  EXPECT_EQ(first.progress().sequence(), 3);
  EXPECT_EQ(first.progress().journal_id(), kJournal);
  EXPECT_TRUE(SaysNothing(&cursor));
}

TEST(StreamCursor, SaysWhatIsNewInOneMessage) {
  PumpedStore pumped;
  StreamCursor cursor = Cursor(pumped.store(), FromNow{});
  Next(&cursor);
  pumped.Push({Update("a", EventType::kStarted), Update("a", EventType::kReset)});
  pumped.PushEach("b", 2);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(1, 2, 3, 4));
  EXPECT_TRUE(SaysNothing(&cursor));
  EXPECT_EQ(cursor.sequence(), 4);
}

TEST(StreamCursor, ResumesInTheMiddleOfABlock) {
  PumpedStore pumped;
  pumped.Push({Update("a", EventType::kReset), Update("a", EventType::kReset),
               Update("a", EventType::kReset)});
  StreamCursor cursor = Cursor(pumped.store(), AfterSequence{1, kJournal});
  EXPECT_EQ(Next(&cursor).progress().sequence(), 1);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(2, 3));
}

TEST(StreamCursor, BeatsOnlyWhenAsked) {
  PumpedStore pumped;
  StreamCursor cursor = Cursor(pumped.store(), FromNow{});
  Next(&cursor);
  EXPECT_TRUE(SaysNothing(&cursor));
  EXPECT_TRUE(Next(&cursor, true).has_progress());
}

TEST(StreamCursor, AFilteredStreamsProgressCoversWhatItLeftOut) {
  PumpedStore pumped;
  v1::EventFilter filter;
  filter.add_vm_names("web*");
  StreamCursor cursor = Cursor(pumped.store(), FromNow{}, filter);
  Next(&cursor);
  pumped.PushEach("db", 5);
  EXPECT_TRUE(SaysNothing(&cursor));
  EXPECT_EQ(Next(&cursor, true).progress().sequence(), 5);
  pumped.Push({Update("db", EventType::kReset), Update("web1", EventType::kReset),
               Update("db", EventType::kReset), Update("web2", EventType::kReset)});
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(7, 9));
}

TEST(StreamCursor, KeepsMessagesBelowTheirLimit) {
  PumpedStore pumped;
  std::vector<VmUpdate> updates;
  for (int i = 0; i < 500; ++i) {
    updates.push_back(Update("a", EventType::kReset));
    updates.back().event->detail_json = std::string(3000, 'x');
  }
  pumped.Push(std::move(updates));
  StreamCursor cursor = Cursor(pumped.store(), FromOldest{});
  Next(&cursor);
  uint64_t expected = 1;
  while (expected <= 500) {
    const v1::WatchEventsResponse message = Next(&cursor);
    ASSERT_GT(message.events_size(), 0);
    EXPECT_LE(message.ByteSizeLong(), StreamCursor::kMaxMessageBytes);
    if (expected < 400) {
      EXPECT_GT(message.ByteSizeLong(), StreamCursor::kMaxMessageBytes - 4000);
    }
    for (const v1::Event& event : message.events()) EXPECT_EQ(event.sequence(), expected++);
  }
}

TEST(StreamCursor, GivesTheSnapshotThenWhatFollows) {
  PumpedStore pumped;
  std::vector<VmUpdate> updates;
  for (int i = 0; i < 3000; ++i) {
    updates.push_back(Update(absl::StrCat("vm", i), EventType::kStarted));
    updates.back().status->problems = {std::string(200, 'p')};
  }
  pumped.Push(std::move(updates));
  StreamCursor cursor = Cursor(pumped.store(), FromSnapshot{});
  pumped.PushEach("late", 1);
  EXPECT_EQ(Next(&cursor).progress().sequence(), 3000);
  int vms = 0;
  int messages = 0;
  v1::WatchEventsResponse message = Next(&cursor);
  for (; !message.has_snapshot_done(); message = Next(&cursor)) {
    EXPECT_LE(message.ByteSizeLong(), StreamCursor::kMaxMessageBytes);
    vms += message.snapshot_vms_size();
    ++messages;
  }
  EXPECT_EQ(vms, 3000);
  EXPECT_GT(messages, 2);
  EXPECT_EQ(message.snapshot_done().sequence(), 3000);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(3001));
}

TEST(StreamCursor, AnEmptySnapshotIsDoneAtOnce) {
  PumpedStore pumped;
  StreamCursor cursor = Cursor(pumped.store(), FromSnapshot{});
  EXPECT_TRUE(Next(&cursor).has_progress());
  EXPECT_TRUE(Next(&cursor).has_snapshot_done());
  EXPECT_TRUE(SaysNothing(&cursor));
}

EventStoreOptions RingOf(size_t events) {
  EventStoreOptions options;
  options.log.max_events = events;
  return options;
}

// Answers the cursor's request from the journal.
void Ask(PumpedStore* pumped, StreamCursor* cursor) {
  const std::optional<HistoryRequest> request = cursor->TakeHistoryRequest();
  ASSERT_TRUE(request.has_value());
  absl::StatusOr<HistoryAnswer> answer = AnswerFromJournal(pumped->reader(), *request);
  ASSERT_TRUE(answer.ok()) << answer.status();
  cursor->Supply(*std::move(answer));
}

TEST(StreamCursor, TakesFromTheJournalWhatTheRingNoLongerHolds) {
  PumpedStore pumped(RingOf(3));
  pumped.PushEach("a", 10);
  StreamCursor cursor = Cursor(pumped.store(), FromOldest{});
  EXPECT_EQ(Next(&cursor).progress().sequence(), 0);
  EXPECT_TRUE(SaysNothing(&cursor)) << "the journal is to be asked";
  pumped.PushEach("a", 2);  // the ring moves on meanwhile
  Ask(&pumped, &cursor);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(1, 2, 3, 4, 5, 6, 7));
  EXPECT_TRUE(SaysNothing(&cursor));
  Ask(&pumped, &cursor);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(8, 9));
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(10, 11, 12)) << "of the ring";
  EXPECT_TRUE(SaysNothing(&cursor));
  EXPECT_FALSE(cursor.TakeHistoryRequest().has_value());
}

TEST(StreamCursor, OneAnswerOfTheJournalIsOneMessage) {
  PumpedStore pumped(RingOf(1));
  VmUpdate large = Update("a", EventType::kReset);
  large.event->detail_json = std::string(4000, 'x');
  for (int i = 0; i < 30; ++i) pumped.Push(std::vector<VmUpdate>(20, large));
  StreamCursor cursor = Cursor(pumped.store(), FromOldest{});
  Next(&cursor);
  uint64_t seen = 0;
  while (SaysNothing(&cursor)) {
    Ask(&pumped, &cursor);
    const std::vector<uint64_t> sequences = Sequences(Next(&cursor));
    ASSERT_FALSE(sequences.empty());
    EXPECT_EQ(sequences.front(), seen + 1);
    EXPECT_LT(sequences.size() * 4000, StreamCursor::kMaxMessageBytes);
    seen = sequences.back();
  }
  EXPECT_GT(seen, 500);
}

TEST(StreamCursor, AFilterThatMatchesNothingInTheJournalAsksOnWithoutAMessage) {
  PumpedStore pumped(RingOf(2));
  pumped.PushEach("a", 10);
  v1::EventFilter filter;
  filter.add_vm_names("b");
  StreamCursor cursor = Cursor(pumped.store(), FromOldest{}, filter);
  Next(&cursor);
  EXPECT_TRUE(SaysNothing(&cursor));
  Ask(&pumped, &cursor);
  EXPECT_TRUE(SaysNothing(&cursor));
  EXPECT_FALSE(cursor.TakeHistoryRequest().has_value()) << "it has caught up";
  EXPECT_EQ(cursor.sequence(), 10);
}

TEST(StreamCursor, BeginsSinceATimeThatOnlyTheJournalKnows) {
  PumpedStore pumped(RingOf(2));
  for (int64_t i = 1; i <= 9; ++i) pumped.Push({Update("a", EventType::kReset, At(i * 10))});
  StreamCursor cursor = Cursor(pumped.store(), Since{At(35)});
  EXPECT_TRUE(SaysNothing(&cursor));
  Ask(&pumped, &cursor);
  EXPECT_EQ(Next(&cursor).progress().sequence(), 3);
  EXPECT_TRUE(SaysNothing(&cursor));
  Ask(&pumped, &cursor);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(8, 9));
}

TEST(StreamCursor, TellsTheNewJournalBeforeWhatIsInIt) {
  PumpedStore pumped;
  pumped.PushEach("a", 2);
  StreamCursor cursor = Cursor(pumped.store(), FromNow{});
  Next(&cursor);
  pumped.pump().ReportCorrupt(pumped.journal().journal().journal_id(),
                              absl::DataLossError("a flipped bit"));
  pumped.Push({});
  EXPECT_EQ(pumped.told_replaced(), 1);
  const v1::WatchEventsResponse progress = Next(&cursor);
  EXPECT_EQ(progress.progress().sequence(), 2);
  EXPECT_EQ(progress.progress().journal_id(), pumped.journal().journal().journal_id());
  const v1::WatchEventsResponse gap = Next(&cursor);
  ASSERT_THAT(Sequences(gap), ElementsAre(3));
  EXPECT_EQ(gap.events(0).type(), v1::EVENT_TYPE_GAP);
  EXPECT_EQ(pumped.store().range().oldest, 3);
}

TEST(StreamCursor, SaysWhenRetentionHasMovedPastIt) {
  PumpedStore pumped(RingOf(4), {.retention_events = 4});
  StreamCursor cursor = Cursor(pumped.store(), FromNow{});
  Next(&cursor);
  pumped.PushEach("a", 10);
  const absl::Status status = cursor.Next(At(0), false).status();
  EXPECT_TRUE(absl::IsOutOfRange(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("oldest retained sequence is 7"));
}

TEST(StreamCursor, ReportsProgressWhileItSearchesALongLog) {
  PumpedStore pumped;
  pumped.Push(std::vector<VmUpdate>(5000, Update("db", EventType::kReset)));
  v1::EventFilter filter;
  for (int i = 0; i < 1000; ++i) filter.add_vm_names(absl::StrCat("web", i, "*"));
  StreamCursor cursor = Cursor(pumped.store(), FromOldest{}, filter);
  EXPECT_EQ(Next(&cursor).progress().sequence(), 0);
  const uint64_t between = Next(&cursor).progress().sequence();
  EXPECT_GT(between, 0);
  EXPECT_LT(between, 5000);
}

}  // namespace
}  // namespace vmeventd
