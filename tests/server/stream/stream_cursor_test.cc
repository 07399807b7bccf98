#include "server/stream/stream_cursor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/rpc/incoming_call.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/proto_text.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;

StreamCursor Cursor(const EventLog& log, const WatchStart& start, const std::string& filter = "") {
  return StreamCursor(&log, log.Begin(start).value(),
                      EventMatcher(FromText<v1::EventFilter>(filter)));
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
  PumpedState pumped;
  pumped.PushEach("a", 3);
  StreamCursor cursor = Cursor(pumped.log(), FromNow{});
  const v1::WatchEventsResponse first = Next(&cursor);
  EXPECT_EQ(first.progress().sequence(), 3);
  EXPECT_EQ(first.progress().journal_id(), kJournal);
  EXPECT_EQ(first.progress().node_id(), kNode);
  EXPECT_TRUE(SaysNothing(&cursor));
}

TEST(StreamCursor, SaysWhatIsNewInOneMessage) {
  PumpedState pumped;
  StreamCursor cursor = Cursor(pumped.log(), FromNow{});
  Next(&cursor);
  pumped.Push({Update("a", EventType::kStarted), Update("a", EventType::kReset)});
  pumped.PushEach("b", 2);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(1, 2, 3, 4));
  EXPECT_TRUE(SaysNothing(&cursor));
  EXPECT_EQ(cursor.sequence(), 4);
}

TEST(StreamCursor, ResumesInTheMiddleOfABlock) {
  PumpedState pumped;
  pumped.Push({Update("a", EventType::kReset), Update("a", EventType::kReset),
               Update("a", EventType::kReset)});
  StreamCursor cursor = Cursor(pumped.log(), AfterSequence{1, kJournal});
  EXPECT_EQ(Next(&cursor).progress().sequence(), 1);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(2, 3));
}

TEST(StreamCursor, BeatsOnlyWhenAsked) {
  PumpedState pumped;
  StreamCursor cursor = Cursor(pumped.log(), FromNow{});
  Next(&cursor);
  EXPECT_TRUE(SaysNothing(&cursor));
  EXPECT_TRUE(Next(&cursor, true).has_progress());
}

TEST(StreamCursor, AReplaySaysThatItHasCaughtUp) {
  PumpedState pumped;
  pumped.PushEach("db", 5);
  StreamCursor all = Cursor(pumped.log(), FromOldest{});
  EXPECT_EQ(Next(&all).progress().sequence(), 0);
  EXPECT_EQ(Next(&all).events_size(), 5);
  StreamCursor none = Cursor(pumped.log(), FromOldest{}, "vm_names: 'web1'");
  EXPECT_EQ(Next(&none).progress().sequence(), 0);
  for (StreamCursor* const cursor : {&all, &none}) {
    EXPECT_EQ(Next(cursor).progress().sequence(), 5);
    EXPECT_TRUE(SaysNothing(cursor)) << "once";
  }
  StreamCursor at_head = Cursor(pumped.log(), AfterSequence{5, kJournal}, "vm_names: 'web1'");
  EXPECT_EQ(Next(&at_head).progress().sequence(), 5);
  EXPECT_TRUE(SaysNothing(&at_head)) << "its first Progress has said it";
}

TEST(StreamCursor, AFilteredStreamsProgressCoversWhatItLeftOut) {
  PumpedState pumped;
  StreamCursor cursor = Cursor(pumped.log(), FromNow{}, "vm_names: 'web*'");
  Next(&cursor);
  pumped.PushEach("db", 5);
  EXPECT_TRUE(SaysNothing(&cursor));
  EXPECT_EQ(Next(&cursor, true).progress().sequence(), 5);
  pumped.Push({Update("db", EventType::kReset), Update("web1", EventType::kReset),
               Update("db", EventType::kReset), Update("web2", EventType::kReset)});
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(7, 9));
}

TEST(StreamCursor, KeepsMessagesBelowTheirLimit) {
  PumpedState pumped;
  pumped.Push(std::vector<VmUpdate>(500, LargeUpdate("a")));
  StreamCursor cursor = Cursor(pumped.log(), FromOldest{});
  Next(&cursor);
  uint64_t expected = 1;
  while (expected <= 500) {
    const v1::WatchEventsResponse message = Next(&cursor);
    ASSERT_GT(message.events_size(), 0);
    EXPECT_LE(message.ByteSizeLong(), StreamCursor::kMaxMessageBytes);
    if (expected < 400) {
      EXPECT_GT(message.ByteSizeLong(), StreamCursor::kMaxMessageBytes - 5000);
    }
    for (const v1::Event& event : message.events()) EXPECT_EQ(event.sequence(), expected++);
  }
}

TEST(StreamCursor, AnEventLargerThanAMessageIsSentAlone) {
  PumpedState pumped;
  std::vector<VmUpdate> updates;
  for (const size_t size : {size_t{10}, StreamCursor::kMaxMessageBytes, size_t{10}}) {
    updates.push_back(Update("a", EventType::kReset));
    updates.back().event->message = std::string(size, 'x');
  }
  pumped.Push(std::move(updates));
  for (const char* filter : {"", "vm_names: 'a'"}) {
    StreamCursor cursor = Cursor(pumped.log(), FromOldest{}, filter);
    Next(&cursor);
    EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(1));
    EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(2));
    EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(3));
  }
}

TEST(StreamCursor, GivesTheSnapshotThenWhatFollows) {
  PumpedState pumped;
  std::vector<VmUpdate> updates;
  for (int i = 0; i < 3000; ++i) {
    updates.push_back(Update(absl::StrCat("vm", i), EventType::kStarted));
    updates.back().status->problems = {std::string(200, 'p')};
  }
  pumped.Push(std::move(updates));
  StreamCursor cursor = Cursor(pumped.log(), FromSnapshot{});
  pumped.PushEach("late", 1);
  EXPECT_EQ(Next(&cursor).progress().sequence(), 0);
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

TEST(StreamCursor, APositionFromBeforeTheSnapshotIsDoneLosesNothing) {
  PumpedState pumped(LiveStateOptions{}, {.retention_events = 3});
  pumped.PushEach("a", 3);
  StreamCursor cursor = Cursor(pumped.log(), FromSnapshot{});
  const v1::WatchEventsResponse first = Next(&cursor);
  const AfterSequence position{first.progress().sequence(), first.progress().journal_id()};
  StreamCursor again = Cursor(pumped.log(), position);
  Next(&again);
  EXPECT_THAT(Sequences(Next(&again)), ElementsAre(1, 2, 3));
  pumped.PushEach("a", 1);
  EXPECT_TRUE(absl::IsOutOfRange(pumped.live_state().Begin(position).status()));
}

TEST(StreamCursor, AnEmptySnapshotIsDoneAtOnce) {
  PumpedState pumped;
  StreamCursor cursor = Cursor(pumped.log(), FromSnapshot{});
  EXPECT_TRUE(Next(&cursor).has_progress());
  EXPECT_TRUE(Next(&cursor).has_snapshot_done());
  EXPECT_TRUE(SaysNothing(&cursor));
}

// Answers the cursor's request from the journal.
void Ask(PumpedState* pumped, StreamCursor* cursor) {
  const auto request = cursor->TakeHistoryRequest();
  ASSERT_NE(request, nullptr);
  absl::StatusOr<HistoryAnswer> answer =
      pumped->reader()->Answer(*request, StreamCursor::kHistoryBytes);
  ASSERT_TRUE(answer.ok()) << answer.status();
  cursor->Supply(*std::move(answer));
}

TEST(StreamCursor, TakesFromTheJournalWhatTheRingNoLongerHolds) {
  PumpedState pumped(RingOf(3));
  pumped.PushEach("a", 10);
  StreamCursor cursor = Cursor(pumped.log(), AfterSequence{0, kJournal});
  EXPECT_EQ(Next(&cursor).progress().sequence(), 0);
  EXPECT_TRUE(SaysNothing(&cursor)) << "the journal is to be asked";
  pumped.PushEach("a", 2);  // the ring moves on meanwhile
  Ask(&pumped, &cursor);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(1, 2, 3, 4, 5, 6, 7));
  EXPECT_TRUE(SaysNothing(&cursor));
  Ask(&pumped, &cursor);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(8, 9, 10, 11, 12)) << "with the ring's";
  EXPECT_EQ(Next(&cursor).progress().sequence(), 12) << "it has caught up";
  EXPECT_TRUE(SaysNothing(&cursor));
  EXPECT_EQ(cursor.TakeHistoryRequest(), nullptr);
}

TEST(StreamCursor, TheOldestEventIsFoundWhereItIsRead) {
  PumpedState pumped(RingOf(3), {.retention_events = 8});
  pumped.PushEach("a", 10);
  StreamCursor cursor = Cursor(pumped.log(), FromOldest{});
  EXPECT_TRUE(SaysNothing(&cursor)) << "the journal is to be asked";
  pumped.PushEach("a", 5);  // retention moves on meanwhile
  Ask(&pumped, &cursor);
  pumped.PushEach("a", 5);  // and again before it is sent
  EXPECT_EQ(Next(&cursor).progress().sequence(), 7);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
}

TEST(StreamCursor, TheOldestEventOfTheRingIsThereWhateverRetentionDoes) {
  PumpedState pumped(RingOf(3), {.retention_events = 3});
  pumped.PushEach("a", 5);
  StreamCursor cursor = Cursor(pumped.log(), FromOldest{});
  EXPECT_EQ(Next(&cursor).progress().sequence(), 2);
  pumped.PushEach("a", 2);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(3, 4, 5, 6, 7));
}

TEST(StreamCursor, OneAnswerOfTheJournalIsOneMessage) {
  PumpedState pumped(RingOf(1));
  for (int i = 0; i < 30; ++i) pumped.Push(std::vector<VmUpdate>(20, LargeUpdate("a")));
  StreamCursor cursor = Cursor(pumped.log(), AfterSequence{0, kJournal});
  Next(&cursor);
  uint64_t seen = 0;
  while (seen < 600) {
    ASSERT_TRUE(SaysNothing(&cursor));
    Ask(&pumped, &cursor);
    const std::vector<uint64_t> sequences = Sequences(Next(&cursor));
    ASSERT_FALSE(sequences.empty());
    EXPECT_EQ(sequences.front(), seen + 1);
    EXPECT_LT(sequences.size() * 4000, StreamCursor::kMaxMessageBytes);
    seen = sequences.back();
  }
}

TEST(StreamCursor, AFilterThatMatchesNothingInTheJournalAsksOnWithoutAMessage) {
  PumpedState pumped(RingOf(2));
  pumped.PushEach("a", 10);
  StreamCursor cursor = Cursor(pumped.log(), AfterSequence{0, kJournal}, "vm_names: 'b'");
  Next(&cursor);
  EXPECT_TRUE(SaysNothing(&cursor));
  Ask(&pumped, &cursor);
  EXPECT_EQ(Next(&cursor).progress().sequence(), 10) << "it has caught up";
  EXPECT_EQ(cursor.TakeHistoryRequest(), nullptr);
  EXPECT_EQ(cursor.sequence(), 10);
}

TEST(StreamCursor, LeavesOutOtherSourcesInTheRingAndInTheJournal) {
  PumpedState pumped(RingOf(2));
  pumped.Push({UpdateFrom("libvirt:qemu:///system", "web1", EventType::kReset)});
  pumped.Push({Update("web1", EventType::kReset)});
  pumped.Push({UpdateFrom("", "old", EventType::kReset)});
  pumped.PushEach("web1", 2);  // the ring holds these
  StreamCursor cursor = Cursor(pumped.log(), AfterSequence{0, kJournal}, "sources: 'qmp:/run/vms'");
  Next(&cursor);
  EXPECT_TRUE(SaysNothing(&cursor));
  Ask(&pumped, &cursor);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(2, 4, 5));
}

// Where a stream since `time` begins, and what it is sent of what is there now.
std::vector<uint64_t> SentSince(PumpedState* pumped, absl::Time time) {
  StreamCursor cursor = Cursor(pumped->log(), Since{time});
  EXPECT_TRUE(SaysNothing(&cursor)) << "the journal is to be asked";
  Ask(pumped, &cursor);
  EXPECT_TRUE(Next(&cursor).has_progress());
  std::vector<uint64_t> out;
  for (;;) {
    const auto message = cursor.Next(At(0), false);
    EXPECT_TRUE(message.ok()) << message.status();
    if (!message.ok() || !message->has_value()) return out;
    v1::WatchEventsResponse response;
    EXPECT_TRUE(ParseMessage(**message, &response).ok());
    for (const uint64_t sequence : Sequences(response)) out.push_back(sequence);
  }
}

// Why there is no such stream.
absl::Status WhyNotSince(PumpedState* pumped, absl::Time time) {
  StreamCursor cursor = Cursor(pumped->log(), Since{time});
  EXPECT_TRUE(SaysNothing(&cursor));
  return pumped->reader()
      ->Answer(*cursor.TakeHistoryRequest(), StreamCursor::kHistoryBytes)
      .status();
}

TEST(StreamCursor, SinceIsEveryEventObservedAtThatTimeOrLater) {
  PumpedState pumped(RingOf(2));
  for (int64_t i = 1; i <= 9; ++i) pumped.Push({Update("a", EventType::kReset, At(i * 10))});
  pumped.Push({Update("a", EventType::kReset, At(15))});  // the clock was set back
  pumped.Push({Update("a", EventType::kReset, At(50))});
  EXPECT_THAT(SentSince(&pumped, At(75)), ElementsAre(8, 9));
  EXPECT_THAT(SentSince(&pumped, At(50)), ElementsAre(5, 6, 7, 8, 9, 11));
  EXPECT_THAT(SentSince(&pumped, At(-1)), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
}

TEST(StreamCursor, SinceATimeToComeLeavesOutWhatIsBeforeIt) {
  PumpedState pumped;
  pumped.PushEach("a", 3);
  StreamCursor cursor = Cursor(pumped.log(), Since{At(3600)});
  EXPECT_TRUE(SaysNothing(&cursor));
  Ask(&pumped, &cursor);
  EXPECT_EQ(Next(&cursor).progress().sequence(), 3);
  pumped.Push({Update("a", EventType::kReset, At(3599))});
  EXPECT_TRUE(SaysNothing(&cursor));
  pumped.Push({Update("a", EventType::kReset, At(3600))});
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(5));
}

TEST(StreamCursor, SinceReachesAsFarBackAsAnyRetainedEvent) {
  PumpedState pumped({}, {.retention_events = 3});
  pumped.clock().Advance(absl::Seconds(100));
  pumped.Push({Update("a", EventType::kReset, At(400 * 86'400))});  // the clock is a year ahead
  for (int64_t i = 1; i <= 5; ++i) pumped.Push({Update("a", EventType::kReset, At(i * 10))});
  ASSERT_EQ(pumped.live_state().range().oldest, 4);  // At(30)
  EXPECT_THAT(SentSince(&pumped, At(30)), ElementsAre(4, 5, 6));
  EXPECT_THAT(SentSince(&pumped, At(50)), ElementsAre(6));
  EXPECT_THAT(WhyNotSince(&pumped, At(20)),
              FailsAs(absl::IsOutOfRange, "oldest retained sequence is 4"));
}

TEST(StreamCursor, SinceBeforeAJournalWasReplacedIsTooOld) {
  PumpedState pumped;
  pumped.Push({Update("a", EventType::kReset, At(-20))});
  pumped.pump().ReportCorrupt(pumped.journal().journal().journal_id(),
                              absl::DataLossError("a flipped bit"));
  pumped.Push({});  // the GAP, At(0)
  pumped.clock().Advance(absl::Seconds(10));
  pumped.Push({Update("a", EventType::kReset, At(10))});
  pumped.ReadReplaced();
  EXPECT_TRUE(absl::IsOutOfRange(WhyNotSince(&pumped, At(-10))));
  EXPECT_THAT(SentSince(&pumped, At(0)), ElementsAre(2, 3));
  EXPECT_THAT(SentSince(&pumped, At(5)), ElementsAre(3));
}

TEST(StreamCursor, GoesOverWhatWasGivenUpToItsGap) {
  PumpedState pumped;
  pumped.PushEach("a", 6);
  v1::Event gap;
  gap.set_sequence(4);
  gap.set_type(v1::EVENT_TYPE_GAP);
  EventBlockBuilder builder;
  builder.Add(gap);
  StreamCursor at_start = Cursor(pumped.log(), AfterSequence{0, kJournal});
  StreamCursor within = Cursor(pumped.log(), AfterSequence{2, kJournal});
  StreamCursor behind = Cursor(pumped.log(), AfterSequence{4, kJournal});
  pumped.live_state().PutGap(2, builder.Finish());
  for (StreamCursor* cursor : {&at_start, &within, &behind}) Next(cursor);
  EXPECT_THAT(Sequences(Next(&at_start)), ElementsAre(1, 4, 5, 6));
  EXPECT_THAT(Sequences(Next(&within)), ElementsAre(4, 5, 6));
  EXPECT_THAT(Sequences(Next(&behind)), ElementsAre(5, 6));
}

// The next message, though the journal may have to be asked first.
v1::WatchEventsResponse NextAfterAsking(PumpedState* pumped, StreamCursor* cursor) {
  const auto message = cursor->Next(At(0), false);
  v1::WatchEventsResponse response;
  EXPECT_TRUE(message.ok()) << message.status();
  if (!message.ok()) return response;
  if (!message->has_value()) {
    Ask(pumped, cursor);
    return Next(cursor);
  }
  EXPECT_TRUE(ParseMessage(**message, &response).ok());
  return response;
}

// Every position from `first` on is continued with `gap` and what follows it.
void ExpectGapAfter(PumpedState* pumped, uint64_t first, uint64_t gap) {
  for (uint64_t sequence = first; sequence < gap; ++sequence) {
    StreamCursor cursor = Cursor(pumped->log(), AfterSequence{sequence, kJournal});
    Next(&cursor);
    const v1::WatchEventsResponse message = NextAfterAsking(pumped, &cursor);
    ASSERT_GT(message.events_size(), 0);
    EXPECT_EQ(message.events(0).sequence(), gap);
    EXPECT_LE(message.events(0).missing().first(), sequence + 1);
    EXPECT_EQ(message.events(0).missing().last(), gap);
  }
}

TEST(StreamCursor, APositionAmongWhatWasGivenUpIsContinuedWithItsGap) {
  FaultyDisk disk;
  PumpedState pumped(LiveStateOptions{}, {.retention_events = 5});
  disk.Fail(SQLITE_FULL);
  const VmUpdate small = Update("a", EventType::kReset);
  VmUpdate huge = small;
  huge.saved_run = std::string(9 << 20, 'x');
  for (int i = 0; i < 4; ++i) pumped.Push({small, small, small, huge});  // 1 to 12 go
  ExpectGapAfter(&pumped, 0, 12);
  disk.Fail(SQLITE_OK);
  pumped.clock().Advance(absl::Seconds(10));
  pumped.Push({});
  ASSERT_TRUE(pumped.reported_writable());
  ASSERT_EQ(pumped.live_state().range().oldest, 12);
  ExpectGapAfter(&pumped, 0, 12);
}

TEST(StreamCursor, AStreamThatWasSentWhatIsGivenUpThenGoesOnWithItsGap) {
  FaultyDisk disk;
  PumpedState pumped(RingOf(4), {.retention_events = 4});
  StreamCursor cursor = Cursor(pumped.log(), FromNow{});
  Next(&cursor);
  disk.Fail(SQLITE_FULL);
  pumped.PushEach("a", 2);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(1, 2));
  VmUpdate huge = Update("a", EventType::kReset);
  huge.saved_run = std::string(33 << 20, 'x');
  pumped.Push({Update("a", EventType::kReset), Update("a", EventType::kReset)});
  pumped.Push({huge});  // 1 to 4 go
  disk.Fail(SQLITE_OK);
  pumped.clock().Advance(absl::Seconds(10));
  pumped.Push({});
  pumped.PushEach("a", 2);
  EXPECT_EQ(pumped.live_state().range().oldest, 4);
  EXPECT_THAT(Sequences(NextAfterAsking(&pumped, &cursor)), ElementsAre(4, 5, 6, 7));
}

TEST(StreamCursor, TellsTheNewJournalBeforeWhatIsInIt) {
  PumpedState pumped;
  pumped.PushEach("a", 2);
  StreamCursor cursor = Cursor(pumped.log(), FromNow{});
  Next(&cursor);
  pumped.pump().ReportCorrupt(pumped.journal().journal().journal_id(),
                              absl::DataLossError("a flipped bit"));
  pumped.Push({});
  EXPECT_EQ(pumped.reported_replaced(), 1);
  const v1::WatchEventsResponse progress = Next(&cursor);
  EXPECT_EQ(progress.progress().sequence(), 2);
  EXPECT_EQ(progress.progress().journal_id(), pumped.journal().journal().journal_id());
  const v1::WatchEventsResponse gap = Next(&cursor);
  ASSERT_THAT(Sequences(gap), ElementsAre(3));
  EXPECT_EQ(gap.events(0).type(), v1::EVENT_TYPE_GAP);
  EXPECT_EQ(pumped.live_state().range().oldest, 3);
}

TEST(StreamCursor, SaysWhenRetentionHasMovedPastIt) {
  PumpedState pumped(RingOf(4), {.retention_events = 4});
  StreamCursor cursor = Cursor(pumped.log(), FromNow{});
  Next(&cursor);
  pumped.PushEach("a", 10);
  EXPECT_THAT(cursor.Next(At(0), false),
              FailsAs(absl::IsOutOfRange, "oldest retained sequence is 7"));
}

std::string CostlyFilter() {
  return absl::StrCat("vm_names: ['", absl::StrJoin(CostlyPatterns(), "', '"), "']");
}

TEST(StreamCursor, ReportsProgressWhileItSearchesALongLog) {
  PumpedState pumped;
  pumped.Push(std::vector<VmUpdate>(100, Update(std::string(240, 'a'), EventType::kReset)));
  StreamCursor cursor = Cursor(pumped.log(), FromOldest{}, CostlyFilter());
  EXPECT_EQ(Next(&cursor).progress().sequence(), 0);
  uint64_t between = Next(&cursor).progress().sequence();
  EXPECT_GT(between, 0);
  EXPECT_LT(between, 20);
  while (between < 100) {
    const uint64_t next = Next(&cursor).progress().sequence();
    ASSERT_GT(next, between);
    between = next;
  }
  EXPECT_EQ(Next(&cursor).progress().sequence(), 100) << "it has caught up";
  EXPECT_TRUE(SaysNothing(&cursor));
}

TEST(StreamCursor, SearchesASnapshotInTurns) {
  PumpedState pumped;
  std::vector<VmUpdate> updates;
  for (int i = 0; i < 100; ++i) {
    updates.push_back(Update(absl::StrCat(std::string(240, 'a'), i), EventType::kStarted));
  }
  updates.push_back(Update(std::string(240, 'a') + "b", EventType::kStarted));
  pumped.Push(std::move(updates));
  StreamCursor cursor = Cursor(pumped.log(), FromSnapshot{}, CostlyFilter());
  EXPECT_TRUE(Next(&cursor).has_progress());
  int turns = 0;
  while (SaysNothing(&cursor)) {
    ASSERT_TRUE(cursor.more());
    ++turns;
  }
  EXPECT_GT(turns, 5);
  EXPECT_FALSE(cursor.more());
}

TEST(StreamCursor, FindsInASnapshotWhatMatches) {
  PumpedState pumped;
  pumped.Push({Update("a", EventType::kStarted)});
  for (const char* name : {"b", "c", "d"}) {
    pumped.Push({UpdateFrom("libvirt:qemu:///system", name, EventType::kStarted)});
  }
  StreamCursor cursor =
      Cursor(pumped.log(), FromSnapshot{}, "sources: 'libvirt:*' vm_names: '[abd]'");
  EXPECT_TRUE(Next(&cursor).has_progress());
  const v1::WatchEventsResponse vms = Next(&cursor);
  ASSERT_EQ(vms.snapshot_vms_size(), 2);
  EXPECT_EQ(vms.snapshot_vms(0).ref().name(), "b");
  EXPECT_EQ(vms.snapshot_vms(1).ref().name(), "d");
  EXPECT_TRUE(Next(&cursor).has_snapshot_done());
}

}  // namespace
}  // namespace vmeventd
