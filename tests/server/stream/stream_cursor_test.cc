#include "server/stream/stream_cursor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/manual_clock.h"
#include "tests/support/proto_text.h"
#include "tests/support/pumped_state.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_time.h"
#include "tests/support/vm_updates.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

StreamCursor Cursor(const EventLog& log, const WatchStart& start, const std::string& filter = "",
                    bool durable_only = false) {
  return StreamCursor(&log, &log.clock(), log.Begin(start).value(),
                      EventMatcher(FromText<v1::EventFilter>(filter)), durable_only);
}

v1::WatchEventsResponse Message(const StreamCursor::Step& step) {
  EXPECT_FALSE(step.message.empty()) << "nothing to say";
  v1::WatchEventsResponse response;
  EXPECT_TRUE(response.ParseFromString(step.message));
  return response;
}

v1::WatchEventsResponse Next(StreamCursor* cursor) { return Message(cursor->Next()); }

// Returns whether it has nothing to say until more is published.
bool SaysNothing(StreamCursor* cursor) {
  const StreamCursor::Step step = cursor->Next();
  return step.message.empty() && step.follows == StreamCursor::Follows::kPublication;
}

bool AsksTheJournal(StreamCursor* cursor) {
  const StreamCursor::Step step = cursor->Next();
  return step.message.empty() && step.follows == StreamCursor::Follows::kReading;
}

std::vector<uint64_t> Sequences(const v1::WatchEventsResponse& response) {
  std::vector<uint64_t> out;
  for (const v1::Event& event : response.events()) out.push_back(event.sequence());
  return out;
}

TEST(StreamCursor, ResumesAfterItsPosition) {
  PumpedState pumped;
  pumped.Push({Update("a", EventType::kReset), Update("a", EventType::kReset),
               Update("a", EventType::kReset)});
  StreamCursor cursor = Cursor(pumped.log(), AfterSequence{1, kJournal});
  EXPECT_EQ(Next(&cursor).progress().sequence(), 1);
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(2, 3));
}

TEST(StreamCursor, AReplayReportsThatItHasCaughtUp) {
  PumpedState pumped;
  pumped.PushEach("db", 5);
  StreamCursor all = Cursor(pumped.log(), AfterSequence{0, kJournal});
  EXPECT_EQ(Next(&all).progress().sequence(), 0);
  EXPECT_EQ(Next(&all).events_size(), 5);
  StreamCursor none = Cursor(pumped.log(), AfterSequence{0, kJournal}, "vm_names: 'web1'");
  EXPECT_EQ(Next(&none).progress().sequence(), 0);
  for (StreamCursor* const cursor : {&all, &none}) {
    EXPECT_EQ(Next(cursor).progress().sequence(), 5);
    EXPECT_TRUE(SaysNothing(cursor)) << "once";
  }
  StreamCursor at_head = Cursor(pumped.log(), AfterSequence{5, kJournal}, "vm_names: 'web1'");
  EXPECT_EQ(Next(&at_head).progress().sequence(), 5);
  EXPECT_TRUE(SaysNothing(&at_head)) << "its first Progress has reported it";
}

TEST(StreamCursor, TheProgressOfAFilteredStreamCoversOmittedEvents) {
  PumpedState pumped;
  StreamCursor cursor = Cursor(pumped.log(), FromNow{}, "vm_names: 'web*'");
  Next(&cursor);
  pumped.PushEach("db", 5);
  EXPECT_TRUE(SaysNothing(&cursor));
  cursor.RequestProgress();
  EXPECT_EQ(Next(&cursor).progress().sequence(), 5);
  pumped.Push({Update("db", EventType::kReset), Update("web1", EventType::kReset),
               Update("db", EventType::kReset), Update("web2", EventType::kReset)});
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(7, 9));
}

TEST(StreamCursor, ABusyStreamHasAProgressAtEachInterval) {
  PumpedState pumped;
  ManualClock clock;
  StreamCursor cursor(&pumped.log(), &clock, pumped.log().Begin(FromNow{}).value(),
                      EventMatcher(v1::EventFilter()), /*durable_only=*/false, /*id=*/"",
                      /*interval=*/absl::Seconds(1));
  Next(&cursor);
  for (uint64_t sequence = 1; sequence < 7; sequence += 2) {
    pumped.PushEach("db", 1);
    EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(sequence));
    clock.Advance(absl::Seconds(1));
    pumped.PushEach("db", 1);
    const v1::Progress progress = Next(&cursor).progress();
    EXPECT_EQ(progress.sequence(), sequence);
    EXPECT_EQ(progress.durable_sequence(), sequence + 1);
    EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(sequence + 1));
  }
}

TEST(StreamCursor, KeepsMessagesBelowTheirLimit) {
  PumpedState pumped;
  pumped.Push(std::vector<VmUpdate>(500, LargeUpdate("a")));
  StreamCursor cursor = Cursor(pumped.log(), AfterSequence{0, kJournal});
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
    updates.back().event->set_message(std::string(size, 'x'));
  }
  pumped.Push(std::move(updates));
  for (const char* filter : {"", "vm_names: 'a'"}) {
    StreamCursor cursor = Cursor(pumped.log(), AfterSequence{0, kJournal}, filter);
    Next(&cursor);
    EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(1));
    EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(2));
    EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(3));
  }
}

TEST(StreamCursor, SendsTheSnapshotAndThenLaterEvents) {
  PumpedState pumped;
  std::vector<VmUpdate> updates;
  for (int i = 0; i < 3000; ++i) {
    updates.push_back(Update(absl::StrCat("vm", i), EventType::kStarted));
    *updates.back().status->add_problems() =
        ToProto(Problem{ProblemCode::kNoAnswer, std::string(200, 'p')});
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

TEST(StreamCursor, ManySnapshotsThatAreNotReadCostLittleAndTheNextStreamBeginsWithTheLatest) {
  PumpedState pumped;
  std::vector<StreamBegin> unread;
  for (int i = 0; i < 100; ++i) {
    pumped.Push({Update(absl::StrCat("vm", i), EventType::kStarted)});
    unread.push_back(pumped.log().Begin(FromSnapshot{}).value());
  }
  EXPECT_EQ(unread[63].cursor, 64);
  EXPECT_EQ(unread[99].cursor, 64);
  EXPECT_EQ(unread[99].snapshot, unread[63].snapshot);
  StreamCursor cursor = Cursor(pumped.log(), FromSnapshot{});
  Next(&cursor);
  EXPECT_EQ(Next(&cursor).snapshot_vms_size(), 64);
  EXPECT_EQ(Next(&cursor).snapshot_done().sequence(), 64);
  EXPECT_THAT(Sequences(Next(&cursor)), SizeIs(36)) << "the events since";
  unread.clear();
  EXPECT_EQ(pumped.log().Begin(FromSnapshot{})->cursor, 100);
}

TEST(StreamCursor, APositionTakenDuringTheSnapshotLosesNothing) {
  PumpedState pumped(Ring{}, {.retention_events = 3});
  pumped.PushEach("a", 3);
  StreamCursor cursor = Cursor(pumped.log(), FromSnapshot{});
  const v1::WatchEventsResponse first = Next(&cursor);
  const AfterSequence position{first.progress().sequence(), first.progress().journal_id()};
  StreamCursor again = Cursor(pumped.log(), position);
  Next(&again);
  EXPECT_THAT(Sequences(Next(&again)), ElementsAre(1, 2, 3));
  pumped.PushEach("a", 1);
  EXPECT_TRUE(absl::IsOutOfRange(pumped.log().Begin(position).status()));
}

// The next message of a cursor that has to read a page of the journal, of about so many bytes.
v1::WatchEventsResponse NextFromJournal(PumpedState* pumped, StreamCursor* cursor,
                                        size_t bytes = StreamCursor::kMaxMessageBytes) {
  EXPECT_TRUE(AsksTheJournal(cursor));
  EXPECT_TRUE(cursor->ReadJournal(pumped->reader(), bytes).ok());
  return Message(cursor->Next(bytes));
}

TEST(StreamCursor, ReadsFromTheJournalTheEventsThatTheRingNoLongerHas) {
  PumpedState pumped(RingOf(3));
  pumped.PushEach("a", 10);
  StreamCursor cursor = Cursor(pumped.log(), AfterSequence{0, kJournal});
  EXPECT_EQ(Next(&cursor).progress().sequence(), 0);
  EXPECT_THAT(Sequences(NextFromJournal(&pumped, &cursor)),
              ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
      << "with the ring's";
  EXPECT_EQ(Next(&cursor).progress().sequence(), 10) << "it has caught up";
  EXPECT_TRUE(SaysNothing(&cursor));
}

TEST(StreamCursor, AGapNamesThinnedOutEventsEvenInAFullMessage) {
  PumpedState pumped(RingOf(21), {.retention_events = 8});  // 20 of "noisy"
  pumped.Push({Update("quiet", EventType::kStarted)});
  pumped.PushEach("noisy", 5);
  VmUpdate large = LargeUpdate("quiet");
  large.event->set_type(ToProto(EventType::kStarted));
  pumped.Push({large});
  pumped.PushEach("noisy", 20);
  StreamCursor cursor = Cursor(pumped.log(), Since{absl::InfinitePast()});
  EXPECT_EQ(NextFromJournal(&pumped, &cursor).progress().sequence(), 0);
  const v1::WatchEventsResponse message = NextFromJournal(&pumped, &cursor, 2'000);
  ASSERT_THAT(Sequences(message), ElementsAre(1, 6)) << "the next event does not fit";
  EXPECT_EQ(message.events(1).missing().last(), 6);
  EXPECT_THAT(Sequences(NextFromJournal(&pumped, &cursor, 2'000)), ElementsAre(7));
  EXPECT_THAT(Sequences(Next(&cursor)), SizeIs(20));
}

TEST(StreamCursor, AFilterThatMatchesNothingReadsTheJournalToItsEndWithoutAMessage) {
  PumpedState pumped(RingOf(2));
  pumped.PushEach("a", 10);
  StreamCursor cursor = Cursor(pumped.log(), AfterSequence{0, kJournal}, "vm_names: 'b'");
  Next(&cursor);
  EXPECT_EQ(NextFromJournal(&pumped, &cursor).progress().sequence(), 10) << "it has caught up";
  EXPECT_TRUE(SaysNothing(&cursor));
  EXPECT_EQ(cursor.sequence(), 10);
}

// The sequence at which a stream since `time` begins, and those of the events that it is sent now.
std::vector<uint64_t> SentSince(PumpedState* pumped, absl::Time time) {
  StreamCursor cursor = Cursor(pumped->log(), Since{time});
  EXPECT_TRUE(NextFromJournal(pumped, &cursor).has_progress());
  std::vector<uint64_t> out;
  for (;;) {
    const StreamCursor::Step step = cursor.Next();
    if (!step.message.empty()) {
      for (const uint64_t sequence : Sequences(Message(step))) out.push_back(sequence);
    } else if (step.follows == StreamCursor::Follows::kPublication) {
      return out;
    } else if (!cursor.ReadJournal(pumped->reader()).ok()) {
      ADD_FAILURE();
      return out;
    }
  }
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

TEST(StreamCursor, SinceATimeIncludesTheGapForLaterEventsWithAnEarlierTime) {
  PumpedState pumped(RingOf(1), {.retention_events = 3});
  pumped.Push({Update("quiet", EventType::kStarted, At(20))});
  for (const int64_t time : {30, 40, 5}) {  // the clock was set back
    pumped.Push({Update("noisy", EventType::kReset, At(time))});
  }
  pumped.Push({Update("quiet", EventType::kReset, At(50))});
  EXPECT_THAT(SentSince(&pumped, At(15)), ElementsAre(1, 3, 5));
}

TEST(StreamCursor, SinceAFutureTimeOmitsEarlierEvents) {
  PumpedState pumped;
  pumped.PushEach("a", 3);
  StreamCursor cursor = Cursor(pumped.log(), Since{At(3600)});
  EXPECT_EQ(NextFromJournal(&pumped, &cursor).progress().sequence(), 3);
  pumped.Push({Update("a", EventType::kReset, At(3599))});
  EXPECT_TRUE(SaysNothing(&cursor));
  pumped.Push({Update("a", EventType::kReset, At(3600))});
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(5));
}

// A clock that shows a millisecond more at each look.
class SlowClock : public ManualClock {
 public:
  Instant Now() const override {
    const_cast<SlowClock*>(this)->Advance(absl::Milliseconds(1));
    return ManualClock::Now();
  }
};

TEST(StreamCursor, ASearchThatTakesLongReportsProgress) {
  PumpedState pumped;
  pumped.Push(std::vector<VmUpdate>(1'000, Update("a", EventType::kReset)));
  const SlowClock clock;
  StreamCursor cursor(&pumped.log(), &clock, pumped.log().Begin(AfterSequence{0, kJournal}).value(),
                      EventMatcher(FromText<v1::EventFilter>("vm_names: 'b'")));
  EXPECT_EQ(Next(&cursor).progress().sequence(), 0);
  uint64_t between = 0;
  int messages = 0;
  for (; between < 1'000; ++messages) {
    const uint64_t next = Next(&cursor).progress().sequence();
    ASSERT_GT(next, between);
    between = next;
  }
  EXPECT_GT(messages, 5);
}

TEST(StreamCursor, AFilterThatMatchesNothingInALargeJournalStillReportsProgress) {
  PumpedState pumped(RingOf(2));
  pumped.Push(std::vector<VmUpdate>(1'000, Update("a", EventType::kReset)));
  const SlowClock clock;
  StreamCursor cursor(&pumped.log(), &clock, pumped.log().Begin(AfterSequence{0, kJournal}).value(),
                      EventMatcher(FromText<v1::EventFilter>("vm_names: 'b'")));
  Next(&cursor);
  ASSERT_TRUE(AsksTheJournal(&cursor));
  ASSERT_TRUE(cursor.ReadJournal(pumped.reader()).ok());
  const uint64_t first = cursor.sequence();
  EXPECT_GT(first, 0) << "a page ends when it has taken long";
  cursor.RequestProgress();
  EXPECT_EQ(Next(&cursor).progress().sequence(), first);
  EXPECT_TRUE(AsksTheJournal(&cursor)) << "a page comes first";
  ASSERT_TRUE(cursor.ReadJournal(pumped.reader()).ok());
  const uint64_t second = Next(&cursor).progress().sequence();
  EXPECT_GT(second, first);
  EXPECT_LT(second, 998);
}

TEST(StreamCursor, ALongSearchOfASnapshotIsDividedIntoTurns) {
  PumpedState pumped;
  for (int i = 0; i < 200; ++i) {
    pumped.PushUnwritten({Update(absl::StrCat("a", i), EventType::kStarted)});
  }
  pumped.Push({Update("b", EventType::kStarted)});
  const SlowClock clock;
  StreamCursor cursor(&pumped.log(), &clock, pumped.log().Begin(FromSnapshot{}).value(),
                      EventMatcher(FromText<v1::EventFilter>("vm_names: 'b'")));
  EXPECT_TRUE(Next(&cursor).has_progress());
  int turns = 0;
  for (StreamCursor::Step step; step.message.empty(); step = cursor.Next(), ++turns) {
    ASSERT_EQ(step.follows, StreamCursor::Follows::kMore);
  }
  EXPECT_GT(turns, 1);
}

TEST(StreamCursor, ReportsThatAnEventIsNotDurableAndWhenItIs) {
  PumpedState pumped;
  StreamCursor cursor = Cursor(pumped.log(), FromNow{});
  StreamCursor durable_only = Cursor(pumped.log(), FromNow{}, "", true);
  Next(&cursor);
  Next(&durable_only);
  pumped.PushUnwritten({Update("a", EventType::kReset)});
  EXPECT_TRUE(SaysNothing(&cursor)) << "it waits for the disk at first";
  pumped.clock().Advance(PublicationQueue::kPatience);
  pumped.PushUnwritten({});
  const v1::WatchEventsResponse sent = Next(&cursor);
  ASSERT_THAT(Sequences(sent), ElementsAre(1));
  EXPECT_FALSE(sent.events(0).durable());
  EXPECT_TRUE(SaysNothing(&cursor));
  cursor.RequestProgress();
  EXPECT_EQ(Next(&cursor).progress().durable_sequence(), 0);
  EXPECT_TRUE(SaysNothing(&durable_only));
  pumped.Write();
  EXPECT_EQ(Next(&cursor).progress().durable_sequence(), 1);
  EXPECT_TRUE(SaysNothing(&cursor)) << "once";
  const v1::WatchEventsResponse late = Next(&durable_only);
  ASSERT_THAT(Sequences(late), ElementsAre(1));
  EXPECT_TRUE(late.events(0).durable());
  pumped.PushUnwritten({Update("a", EventType::kReset)});
  pumped.clock().Advance(PublicationQueue::kPatience);
  pumped.PushUnwritten({});
  EXPECT_THAT(Sequences(Next(&cursor)), ElementsAre(2));
  pumped.Push({Update("a", EventType::kReset)});
  EXPECT_EQ(cursor.Next().follows, StreamCursor::Follows::kMore) << "event 2 is durable, too";
  EXPECT_EQ(Next(&cursor).progress().durable_sequence(), 3);
}

TEST(StreamCursor, AStreamWhoseNextEventsWereDeletedEndsWithOutOfRange) {
  PumpedState pumped(RingOf(4), {.retention_events = 4});
  StreamCursor cursor = Cursor(pumped.log(), FromNow{});
  Next(&cursor);
  pumped.PushEach("a", 10);
  EXPECT_TRUE(AsksTheJournal(&cursor));
  EXPECT_TRUE(absl::IsOutOfRange(cursor.ReadJournal(pumped.reader())));
}

}  // namespace
}  // namespace vmeventd
