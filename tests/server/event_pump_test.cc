#include "server/event_pump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <string>
#include <vector>

#include "server/event_codec.h"
#include "tests/server/faulty_disk.h"
#include "tests/server/test_events.h"

namespace vmeventd {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Property;
using ::testing::SizeIs;

std::vector<v1::Event> EventsOf(const std::vector<EventBlockPtr>& blocks) {
  std::vector<v1::Event> out;
  for (const EventBlockPtr& block : blocks) {
    for (size_t i = 0; i < block->size(); ++i) {
      out.push_back(DecodeEventField(block->EncodedView(i)));
    }
  }
  return out;
}

std::vector<v1::Event> Public(PumpedStore& pumped) {
  return EventsOf(pumped.store().ReadFrom(1, 1 << 30).blocks);
}

std::vector<v1::Event> Journaled(PumpedStore& pumped) {
  return EventsOf(pumped.reader()->ReadFrom(1, 1'000'000, 1 << 30).value().blocks);
}

auto IsDurable(bool durable) { return Property(&v1::Event::durable, durable); }

VmUpdate Saved(VmUpdate update, const std::string& saved_run) {
  update.saved_run = saved_run;
  return update;
}

// What the next start of a daemon would find.
Journal::Opened OpenAgain(PumpedStore& pumped) {
  return Journal::Open(pumped.journal_options(), At(0)).value();
}

TEST(EventPump, WhatIsPublicIsInTheJournal) {
  PumpedStore pumped;
  pumped.PushEach("a", 3);
  const std::vector<v1::Event> events = Public(pumped);
  EXPECT_THAT(events, AllOf(SizeIs(3), Each(IsDurable(true))));
  const std::vector<v1::Event> kept = Journaled(pumped);
  ASSERT_THAT(kept, SizeIs(3));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(events[i].SerializeAsString(), kept[i].SerializeAsString());
  }
}

TEST(EventPump, KeepsOpenRunsWithTheirLastSequence) {
  PumpedStore pumped;
  pumped.Push({Saved(Update("a", EventType::kStarted), "{a}"),
               Saved(Update("b", EventType::kStarted), "{b}")});
  pumped.Push({Saved(Update("a", EventType::kReset), "{a reset}")});
  VmUpdate stopped = Saved(Stopped("b", "run-b", ShutdownClass::kUser), "");
  pumped.Push({stopped});
  const Journal::Opened again = OpenAgain(pumped);
  ASSERT_THAT(again.sessions, SizeIs(1));
  EXPECT_EQ(again.sessions[0].payload, "{a reset}");
  EXPECT_EQ(again.sessions[0].last_sequence, 3u);
  ASSERT_THAT(again.stops, SizeIs(1));
  EXPECT_EQ(again.stops[0].sequence, 4u);
  EXPECT_EQ(DecodeSnapshotVmField(again.stops[0].vm).ref().name(), "b");
}

TEST(EventPump, AFullDiskDelaysTheJournalAndNothingElse) {
  FaultyDisk disk;
  PumpedStore pumped;
  pumped.Push({Saved(Update("a", EventType::kStarted), "{a}")});
  disk.Fail(SQLITE_FULL);
  pumped.PushEach("a", 2);
  pumped.Push({Saved(Stopped("a", "run-a", ShutdownClass::kUser), "")});
  EXPECT_FALSE(pumped.told_writable());
  EXPECT_FALSE(pumped.store().journal_writable());
  EXPECT_THAT(Public(pumped),
              ElementsAre(IsDurable(true), IsDurable(false), IsDurable(false), IsDurable(false)));
  EXPECT_THAT(Journaled(pumped), SizeIs(1));

  pumped.clock().Advance(absl::Seconds(10));
  pumped.Push({});
  EXPECT_FALSE(pumped.told_writable()) << "still full";
  disk.Fail(SQLITE_OK);
  pumped.clock().Advance(absl::Seconds(10));
  pumped.Push({});
  EXPECT_TRUE(pumped.told_writable());
  EXPECT_TRUE(pumped.store().journal_writable());
  EXPECT_THAT(Journaled(pumped), AllOf(SizeIs(4), Each(IsDurable(true))));
  EXPECT_THAT(Public(pumped), AllOf(SizeIs(4), Each(IsDurable(true))));
  EXPECT_THAT(OpenAgain(pumped).sessions, IsEmpty());
  EXPECT_THAT(OpenAgain(pumped).stops, SizeIs(1));
}

TEST(EventPump, AFailureAtAnyPointOfACommitLeavesAllOrNothing) {
  for (const int code : {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC}) {
    for (int after = 0; after < 12; ++after) {
      FaultyDisk disk;
      PumpedStore pumped;
      pumped.Push({Saved(Update("a", EventType::kStarted), "{a}")});
      disk.Fail(code, after);
      pumped.Push({Saved(Stopped("a", "run-a", ShutdownClass::kUser), "")});
      disk.Fail(SQLITE_OK);
      const Journal::Opened now = OpenAgain(pumped);
      EXPECT_EQ(now.sessions.size(), now.journal->newest() == 2 ? 0u : 1u) << code << " " << after;
      pumped.clock().Advance(absl::Seconds(10));
      pumped.PushEach("b", 1);
      EXPECT_TRUE(pumped.told_writable());
      EXPECT_THAT(Journaled(pumped), AllOf(SizeIs(3), Each(IsDurable(true))));
      EXPECT_THAT(OpenAgain(pumped).sessions, IsEmpty());
    }
  }
}

TEST(EventPump, GivesUpTheOldestBeyondItsBoundAndSaysSo) {
  FaultyDisk disk;
  PumpedStore pumped;
  pumped.PushEach("a", 1);
  disk.Fail(SQLITE_FULL);
  VmUpdate large = Update("a", EventType::kReset);
  large.event->detail_json = std::string(4000, 'x');
  for (int i = 0; i < 40; ++i) pumped.Push(std::vector<VmUpdate>(250, large));  // 40 MB
  disk.Fail(SQLITE_OK);
  pumped.clock().Advance(absl::Seconds(10));
  pumped.Push({});
  EXPECT_TRUE(pumped.told_writable());
  const std::vector<v1::Event> kept = Journaled(pumped);
  EXPECT_LT(kept.size(), 9000u);
  EXPECT_GT(kept.size(), 7000u);
  EXPECT_EQ(kept.front().sequence(), 1u);
  EXPECT_EQ(kept.back().sequence(), 10'002u);
  EXPECT_EQ(kept.back().type(), v1::EVENT_TYPE_GAP);
  EXPECT_THAT(kept.back().message(),
              HasSubstr(std::to_string(10'002 - kept.size()) + " events were told but could not"));
}

TEST(EventPump, CatchesUpInStepsAndGoesOnWhereItWasStopped) {
  FaultyDisk disk;
  PumpedStore pumped;
  pumped.PushEach("a", 1);
  disk.Fail(SQLITE_FULL);
  VmUpdate large = Update("a", EventType::kReset);
  large.event->detail_json = std::string(4000, 'x');
  for (int i = 0; i < 20; ++i) pumped.Push(std::vector<VmUpdate>(100, large));  // 8 MB
  disk.Fail(SQLITE_FULL, 1500);  // in the midst of it
  pumped.clock().Advance(absl::Seconds(10));
  pumped.Push({});
  EXPECT_FALSE(pumped.told_writable());
  const size_t written = Journaled(pumped).size();
  EXPECT_GT(written, 1u);
  EXPECT_LT(written, 2001u);
  pumped.PushEach("a", 1);
  disk.Fail(SQLITE_OK);
  pumped.clock().Advance(absl::Seconds(10));
  pumped.Push({});
  EXPECT_TRUE(pumped.told_writable());
  const std::vector<v1::Event> kept = Journaled(pumped);
  ASSERT_THAT(kept, AllOf(SizeIs(2002), Each(IsDurable(true))));
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(kept[i].sequence(), i + 1);
  EXPECT_THAT(Public(pumped), AllOf(SizeIs(2002), Each(IsDurable(true))));
}

TEST(EventPump, ALongOutageKeepsNobodyBusy) {
  for (const int code : {SQLITE_FULL, SQLITE_CORRUPT}) {
    FaultyDisk disk;
    PumpedStore pumped;
    pumped.PushEach("a", 1);
    disk.Fail(code);
    pumped.PushEach("a", 1);
    pumped.clock().Advance(absl::Minutes(11));  // beyond the next look for old events
    pumped.Push({});
    EXPECT_FALSE(pumped.told_writable());
    EXPECT_GT(pumped.journal().NextTick(), pumped.clock().Now().monotonic) << code;
  }
}

TEST(EventPump, ASequenceIsNeverGivenTwice) {
  FaultyDisk disk;
  PumpedStore pumped;
  pumped.PushEach("a", 2);
  disk.Fail(SQLITE_FULL);
  pumped.PushEach("a", 3);
  const std::string mark_path =
      pumped.journal_options().path.substr(0, pumped.journal_options().path.rfind('/')) +
      "/sequence";
  const auto mark = SequenceMark::Open(mark_path).value();
  const std::string& id = pumped.journal().journal().journal_id();
  EXPECT_EQ(mark->Of(id).committed, 2u);
  EXPECT_EQ(mark->Of(id).published, 5u);
  EXPECT_EQ(mark->Of("another").published, 0u);
}

TEST(EventPump, ACorruptJournalIsReplacedOnce) {
  FaultyDisk disk;
  PumpedStore pumped;
  pumped.PushEach("a", 2);
  const std::string old_id = pumped.journal().journal().journal_id();
  disk.Fail(SQLITE_CORRUPT);
  pumped.PushEach("a", 1);
  EXPECT_EQ(pumped.told_replaced(), 0) << "no new one can be made now";
  EXPECT_FALSE(pumped.told_writable());
  disk.Fail(SQLITE_OK);
  pumped.clock().Advance(absl::Seconds(10));
  pumped.Push({});
  EXPECT_EQ(pumped.told_replaced(), 1);
  EXPECT_TRUE(pumped.told_writable());
  const std::string new_id = pumped.journal().journal().journal_id();
  EXPECT_NE(new_id, old_id);
  EXPECT_EQ(pumped.store().journal_id(), new_id);

  pumped.pump().ReportCorrupt(old_id, absl::DataLossError("a late report of the old one"));
  pumped.PushEach("a", 1);
  EXPECT_EQ(pumped.told_replaced(), 1);
  const Journal::Opened again = OpenAgain(pumped);
  EXPECT_EQ(again.journal->oldest(), 4u) << "the GAP, after what the old one had";
  EXPECT_EQ(again.journal->newest(), 5u);
  EXPECT_EQ(pumped.store().range().oldest, 4u);
}

}  // namespace
}  // namespace vmeventd
