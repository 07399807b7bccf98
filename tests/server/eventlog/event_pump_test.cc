#include "server/eventlog/event_pump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/eventlog/open_journal.h"
#include "server/eventlog/unreadable.h"
#include "server/events/event_codec.h"
#include "server/logging/logging.h"
#include "spdlog/sinks/base_sink.h"
#include "spdlog/spdlog.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Property;
using ::testing::SizeIs;

std::vector<v1::Event> Public(PumpedState& pumped) {
  return EventsOf(pumped.log().Read(1, {.max_bytes = 1 << 30}).blocks);
}

std::vector<v1::Event> Journaled(PumpedState& pumped) {
  return EventsOf(pumped.reader()->ReadFrom(1, 1'000'000, 1 << 30).value().blocks);
}

auto IsDurable(bool durable) { return Property(&v1::Event::durable, durable); }

VmUpdate Saved(VmUpdate update, const std::string& saved_run) {
  update.saved_run = saved_run;
  return update;
}

// The pump's next try to write, when it is due.
void TryAgain(PumpedState& pumped) {
  pumped.clock().Advance(absl::Seconds(10));
  pumped.Push({});
}

void EndOutage(FaultyDisk& disk, PumpedState& pumped) {
  disk.Fail(SQLITE_OK);
  TryAgain(pumped);
}

// The journal that the next start of a daemon would find.
OpenedJournal OpenAgain(PumpedState& pumped) {
  return OpenJournal(pumped.journal_options(), At(0)).value();
}

std::string MarkPath(const PumpedState& pumped) {
  const std::string& journal = pumped.journal_options().path;
  return journal.substr(0, journal.rfind('/')) + "/sequence";
}

TEST(EventPump, WhatIsPublicIsInTheJournal) {
  PumpedState pumped;
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
  PumpedState pumped;
  pumped.Push({Saved(Update("a", EventType::kStarted), "{a}"),
               Saved(Update("b", EventType::kStarted), "{b}")});
  pumped.Push({Saved(Update("a", EventType::kReset), "{a reset}")});
  VmUpdate stopped = Saved(Stopped("b", "run-b", ShutdownClass::kUser), "");
  pumped.Push({stopped});
  const OpenedJournal again = OpenAgain(pumped);
  ASSERT_THAT(again.runs, SizeIs(1));
  EXPECT_EQ(again.runs[0].payload, "{a reset}");
  EXPECT_EQ(again.runs[0].last_sequence, 3u);
  ASSERT_THAT(again.stops, SizeIs(1));
  EXPECT_EQ(again.stops[0].sequence, 4u);
  EXPECT_EQ(DecodeSnapshotVmField(again.stops[0].vm).ref().name(), "b");
}

TEST(EventPump, OfARunTheLastUpdateOfABatchIsKept) {
  PumpedState pumped;
  VmUpdate last = Saved(Update("a", EventType::kPaused), "{a paused}");
  last.status->state = VmState::kPaused;
  pumped.Push({Saved(Update("a", EventType::kStarted), "{a}"),
               Saved(Update("b", EventType::kStarted), "{b}"),
               last,
               {Status("b", "run-b"), std::nullopt}});
  EXPECT_THAT(Public(pumped), SizeIs(3));
  EXPECT_EQ(pumped.live_state().FindVm({"a", "run-a", ""})->state(), v1::VM_STATE_PAUSED);
  EXPECT_EQ(pumped.live_state().FindVm({"b", "run-b", ""})->last_sequence(), 2u);
  const OpenedJournal again = OpenAgain(pumped);
  ASSERT_THAT(again.runs, SizeIs(2));
  EXPECT_EQ(again.runs[0].payload, "{a paused}");
  EXPECT_EQ(again.runs[0].last_sequence, 3u);
  EXPECT_EQ(again.runs[1].payload, "{b}") << "a later status has none: it stands";
}

TEST(EventPump, ARunThatBeginsAndEndsInABatchIsAStopAlone) {
  PumpedState pumped;
  pumped.Push({Saved(Update("a", EventType::kStarted), "{a}"),
               Saved(Stopped("a", "run-a", ShutdownClass::kUser), "")});
  EXPECT_THAT(Public(pumped), SizeIs(2));
  EXPECT_THAT(OpenAgain(pumped).runs, IsEmpty());
  EXPECT_THAT(OpenAgain(pumped).stops, SizeIs(1));
}

TEST(EventPump, AFullDiskDelaysTheJournalAndNothingElse) {
  FaultyDisk disk;
  PumpedState pumped;
  pumped.Push({Saved(Update("a", EventType::kStarted), "{a}")});
  disk.Fail(SQLITE_FULL);
  pumped.PushEach("a", 2);
  pumped.Push({Saved(Stopped("a", "run-a", ShutdownClass::kUser), "")});
  EXPECT_FALSE(pumped.reported_writable());
  EXPECT_FALSE(pumped.log().health().journal_writable);
  EXPECT_THAT(Public(pumped),
              ElementsAre(IsDurable(true), IsDurable(false), IsDurable(false), IsDurable(false)));
  EXPECT_THAT(Journaled(pumped), SizeIs(1));

  TryAgain(pumped);
  EXPECT_FALSE(pumped.reported_writable()) << "still full";
  EndOutage(disk, pumped);
  EXPECT_TRUE(pumped.reported_writable());
  EXPECT_TRUE(pumped.log().health().journal_writable);
  EXPECT_THAT(Journaled(pumped), AllOf(SizeIs(4), Each(IsDurable(true))));
  EXPECT_THAT(Public(pumped), AllOf(SizeIs(4), Each(IsDurable(true))));
  EXPECT_THAT(OpenAgain(pumped).runs, IsEmpty());
  EXPECT_THAT(OpenAgain(pumped).stops, SizeIs(1));
}

TEST(EventPump, WhoWaitsForAnEventHearsWhetherItIsDurable) {
  FaultyDisk disk;
  PumpedState pumped;
  std::vector<bool> heard;
  const auto awaited = [&](const std::string& saved_run) {
    VmUpdate update = Saved(Update("a", EventType::kIntentDeclared), saved_run);
    update.on_public = [&] { heard.push_back(pumped.log().health().journal_writable); };
    return update;
  };
  pumped.Push({awaited("{a}")});
  disk.Fail(SQLITE_FULL);
  pumped.Push({awaited("{a declared}")});
  disk.Fail(SQLITE_OK);
  pumped.Push({awaited("{a declared again}")});  // behind what waits
  EXPECT_THAT(heard, ElementsAre(true, false, false));
}

TEST(EventPump, WhatWaitsIsWrittenAtTheStopWithoutWaitingForTheNextTry) {
  FaultyDisk disk;
  PumpedState pumped;
  disk.Fail(SQLITE_FULL);
  pumped.PushEach("a", 3);
  disk.Fail(SQLITE_OK);
  ASSERT_GT(pumped.journal().NextTick(), pumped.clock().Now().monotonic) << "not due";
  pumped.queue().Close();
  EXPECT_FALSE(pumped.pump().RunOnce(absl::ZeroDuration()));
  EXPECT_THAT(Journaled(pumped), AllOf(SizeIs(3), Each(IsDurable(true))));
  EXPECT_THAT(Public(pumped), AllOf(SizeIs(3), Each(IsDurable(true))));
}

TEST(EventPump, OldEventsAreDeletedWhileNothingElseHappens) {
  PumpedState pumped({}, {.retention_events = 1000});
  const Journal& journal = pumped.journal().journal();
  pumped.PushEach("a", 1006);
  EXPECT_EQ(journal.oldest(), 1u) << "no commit waits for it";
  EXPECT_LE(pumped.journal().NextTick(), pumped.clock().Now().monotonic);
  pumped.Push({});
  EXPECT_EQ(journal.oldest(), 7u);
  EXPECT_EQ(pumped.live_state().range().oldest, 7u);
  EXPECT_GT(pumped.journal().NextTick(), pumped.clock().Now().monotonic) << "it does not spin";
}

TEST(EventPump, TheLastOldEventsAreDeletedAWhileAfterTheLastCommit) {
  PumpedState pumped({}, {.retention_events = 1000});
  const Journal& journal = pumped.journal().journal();
  pumped.PushEach("a", 1000);
  pumped.Push({});  // what is small is joined
  pumped.PushEach("a", 3);
  pumped.Push({});
  EXPECT_EQ(journal.oldest(), 1u) << "a few wait for more";
  pumped.clock().Advance(absl::Seconds(5));
  pumped.Push({});
  EXPECT_LE(pumped.journal().NextTick(), pumped.clock().Now().monotonic);
  pumped.Push({});
  EXPECT_EQ(journal.oldest(), 4u);
}

TEST(EventPump, AShortAgeIsLookedAtMoreOften) {
  PumpedState pumped({}, {.retention_age = absl::Minutes(10)});
  const Journal& journal = pumped.journal().journal();
  pumped.PushEach("a", 1);
  pumped.clock().Advance(absl::Minutes(10) + absl::Seconds(1));
  pumped.PushEach("a", 1);
  EXPECT_EQ(journal.oldest(), 2u);
  pumped.PushEach("a", 1);
  EXPECT_EQ(journal.oldest(), 2u) << "not due";
  pumped.clock().Advance(absl::Seconds(6));
  pumped.PushEach("a", 1);
  EXPECT_EQ(journal.oldest(), 4u);
}

TEST(EventPump, ManyOldEventsAreDeletedStepByStep) {
  PumpedState pumped({}, {.retention_events = 1000});
  const Journal& journal = pumped.journal().journal();
  const auto burst = [&](int events) {
    std::vector<VmUpdate> updates;
    for (int i = 0; i < events; ++i) updates.push_back(Update("a", EventType::kReset));
    pumped.Push(std::move(updates));
  };
  burst(1000);
  pumped.clock().Advance(absl::Hours(24 * 31));
  pumped.PushEach("a", 1);
  EXPECT_EQ(journal.oldest(), 501u) << "the ten minutes are over";
  pumped.PushEach("a", 1);
  EXPECT_EQ(journal.oldest(), 501u) << "not idle";
  pumped.Push({});
  EXPECT_EQ(journal.oldest(), 1001u);
}

TEST(EventPump, TheMemoryOfCommitsIsGivenBackAWhileAfterThem) {
  PumpedState pumped;
  pumped.PushEach("a", 200);
  const int64_t before = sqlite3_memory_used();
  pumped.Push({});
  EXPECT_GE(sqlite3_memory_used(), before) << "not at once";
  pumped.clock().Advance(absl::Seconds(5));
  EXPECT_LE(pumped.journal().NextTick(), pumped.clock().Now().monotonic);
  pumped.Push({});
  EXPECT_LT(sqlite3_memory_used(), before - 50'000);
  EXPECT_GT(pumped.journal().NextTick(), pumped.clock().Now().monotonic + absl::Minutes(1));
  pumped.PushEach("a", 1);
  EXPECT_THAT(Journaled(pumped), SizeIs(201));
}

TEST(EventPump, AFailureAtAnyPointOfACommitLeavesAllOrNothing) {
  for (const int code : {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC}) {
    for (int after = 0; after < 12; ++after) {
      FaultyDisk disk;
      PumpedState pumped;
      pumped.Push({Saved(Update("a", EventType::kStarted), "{a}")});
      disk.Fail(code, after);
      pumped.Push({Saved(Stopped("a", "run-a", ShutdownClass::kUser), "")});
      disk.Fail(SQLITE_OK);
      const OpenedJournal now = OpenAgain(pumped);
      EXPECT_EQ(now.runs.size(), now.journal->newest() == 2 ? 0u : 1u) << code << " " << after;
      pumped.clock().Advance(absl::Seconds(10));
      pumped.PushEach("b", 1);
      EXPECT_TRUE(pumped.reported_writable());
      EXPECT_THAT(Journaled(pumped), AllOf(SizeIs(3), Each(IsDurable(true))));
      EXPECT_THAT(OpenAgain(pumped).runs, IsEmpty());
    }
  }
}

// What cannot wait: 4 KB each, in steps of 1 MB.
void PushLarge(PumpedState& pumped, int steps) {
  for (int i = 0; i < steps; ++i) pumped.Push(std::vector<VmUpdate>(250, LargeUpdate("a")));
}

// All events are there, one after the other, but for those that the one GAP among them names.
void ExpectOneGapInItsPlace(const std::vector<v1::Event>& events) {
  uint64_t expected = 1;
  int gaps = 0;
  for (const v1::Event& event : events) {
    if (event.has_missing()) {
      EXPECT_EQ(event.type(), v1::EVENT_TYPE_GAP);
      EXPECT_EQ(event.missing().first(), expected);
      EXPECT_EQ(event.missing().last(), event.sequence());
      EXPECT_THAT(event.message(), HasSubstr(absl::StrCat(event.sequence() - expected + 1,
                                                          " events up to ", event.sequence())));
      expected = event.sequence();
      ++gaps;
    }
    ASSERT_EQ(event.sequence(), expected);
    ++expected;
  }
  EXPECT_EQ(gaps, 1);
}

TEST(EventPump, WhatIsGivenUpLeavesAGapInItsPlace) {
  FaultyDisk disk;
  PumpedState pumped;
  pumped.PushEach("a", 1);
  disk.Fail(SQLITE_FULL);
  PushLarge(pumped, 40);
  const std::vector<v1::Event> meanwhile = Public(pumped);
  ExpectOneGapInItsPlace(meanwhile);
  EXPECT_EQ(meanwhile.back().sequence(), 10'001u);
  EXPECT_LT(meanwhile.size(), 9000u);
  EXPECT_GT(meanwhile.size(), 5000u);
  EXPECT_FALSE(meanwhile[1].durable());

  EndOutage(disk, pumped);
  EXPECT_TRUE(pumped.reported_writable());
  for (const std::vector<v1::Event>& events : {Journaled(pumped), Public(pumped)}) {
    ExpectOneGapInItsPlace(events);
    EXPECT_THAT(events, AllOf(SizeIs(meanwhile.size()), Each(IsDurable(true))));
  }
  EXPECT_EQ(pumped.journal().meters().given_up_events.value(), 10'001 - meanwhile.size() + 1);
}

TEST(EventPump, RunsAndStopsThatWaitKeepTheBoundOfTheBacklog) {
  FaultyDisk disk;
  PumpedState pumped;
  pumped.Push({Saved(Update("first", EventType::kStarted), "{}")});
  disk.Fail(SQLITE_FULL);
  pumped.Push({Saved(Stopped("first", "run-first", ShutdownClass::kUser), "")});
  const std::string evidence(100'000, 'x');
  for (int i = 0; i < 1000; ++i) {
    pumped.Push({Saved(Update(absl::StrCat("vm", i), EventType::kReset), evidence)});
    ASSERT_LE(pumped.journal().meters().backlog_bytes.value(), JournalWriter::kMaxBacklogBytes);
  }
  EXPECT_GT(pumped.journal().meters().given_up_runs.value(), 500u);
  EndOutage(disk, pumped);
  EXPECT_TRUE(pumped.reported_writable());
  const OpenedJournal again = OpenAgain(pumped);
  EXPECT_GT(again.runs.size(), 100u);
  for (const SavedRun& saved : again.runs) {
    EXPECT_NE(saved.run_id, "run-first") << "that it is over is not given up";
    EXPECT_EQ(saved.payload, evidence);
  }
}

TEST(EventPump, WhatWasLeftOfAnOutageIsWrittenAfterTriesThatFail) {
  FaultyDisk disk;
  PumpedState pumped;
  disk.Fail(SQLITE_FULL);
  pumped.Push({Saved(Update("left", EventType::kStarted), "{evidence}")});
  pumped.Push({Stopped("stopped", "run-stopped", ShutdownClass::kUser)});
  PushLarge(pumped, 40);
  for (int i = 0; i < 5; ++i) {
    TryAgain(pumped);
    EXPECT_FALSE(pumped.reported_writable());
  }
  EndOutage(disk, pumped);
  const OpenedJournal again = OpenAgain(pumped);
  ASSERT_THAT(again.runs, SizeIs(1));
  EXPECT_EQ(again.runs[0].payload, "{evidence}");
  EXPECT_THAT(again.stops, SizeIs(1));
}

// A journal with `events`, and a lost sector under its oldest.
void LoseSector(FaultyDisk* disk, PumpedState* pumped, int events) {
  pumped->PushEach("a", events);
  const std::string& path = pumped->journal_options().path;
  auto database = SqliteDatabase::Open(path, SQLITE_OPEN_READWRITE);
  ASSERT_TRUE(database->Execute("PRAGMA wal_checkpoint(TRUNCATE)").ok());
  pumped->clock().Advance(absl::Seconds(10));
  pumped->Push({});  // the memory of what was written is given back
  std::ifstream in(path, std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(in)), {});
  // The oldest stand last in the page.
  const size_t at = content.find("something happened");
  ASSERT_NE(at, std::string::npos);
  disk->FailReadsAt(static_cast<int64_t>(at));
}

TEST(EventPump, ALostSectorUnderOldEventsIsDamageAfterMinutesAndKeepsNoEventFromTheJournal) {
  FaultyDisk disk;
  PumpedState pumped({}, {.retention_events = 500});
  LoseSector(&disk, &pumped, 500);
  const absl::Time began = pumped.clock().Now().wall;
  while (pumped.reported_replaced() == 0) {
    ASSERT_LT(pumped.clock().Now().wall - began, absl::Minutes(10));
    pumped.PushEach("a", 1);
    EXPECT_TRUE(pumped.reported_writable());
    pumped.clock().Advance(absl::Seconds(1));
  }
  EXPECT_GE(pumped.clock().Now().wall - began, UnreadablePlaces::kLasts);
  EXPECT_GT(pumped.journal().meters().retention_errors.value(), 2u);
  EXPECT_EQ(pumped.journal().meters().write_errors.value(), 0u);
  EXPECT_THAT(Public(pumped), Each(IsDurable(true)));
}

TEST(EventPump, AReplayThatMeetsALostSectorEachTimeFindsDamage) {
  FaultyDisk disk;
  PumpedState pumped;
  LoseSector(&disk, &pumped, 500);
  const auto replay = [&] {
    const absl::Status met = JournalReader::Open(pumped.journal_options().path)
                                 .value()
                                 ->ReadFrom(1, 500, 1 << 20)
                                 .status();
    EXPECT_TRUE(IsReadError(met)) << met;
    pumped.pump().ReportCorrupt(kJournal, met);
    pumped.Push({});
  };
  for (int i = 0; i < 100; ++i) {
    replay();
    pumped.clock().Advance(absl::Seconds(1));
    ASSERT_EQ(pumped.reported_replaced(), 0) << "it may pass";
  }
  pumped.clock().Advance(absl::Seconds(20));
  replay();
  EXPECT_EQ(pumped.reported_replaced(), 1);
}

// As lists of what begins anywhere, in one outage of the disk and in another one.
TEST(EventPump, ReadErrorsWithoutAPlaceAreNoDamage) {
  PumpedState pumped;
  pumped.PushEach("a", 5);
  absl::Status met = absl::UnavailableError("disk I/O error");
  MarkReadError(&met);
  for (int i = 0; i < 10; ++i) {
    pumped.pump().ReportCorrupt(kJournal, met);
    pumped.Push({});
    pumped.clock().Advance(absl::Minutes(1));
  }
  EXPECT_EQ(pumped.reported_replaced(), 0);
}

TEST(EventPump, ADiskThatFailsAsAWholeDamagesNothing) {
  FaultyDisk disk;
  PumpedState pumped;
  LoseSector(&disk, &pumped, 500);
  for (int i = 0; i < 50; ++i) {
    pumped.pump().ReportCorrupt(
        kJournal,
        JournalReader::Open(pumped.journal_options().path).value()->ReadFrom(1, 500, 1).status());
    disk.Fail(SQLITE_IOERR_WRITE);
    pumped.PushEach("a", 1);
    EndOutage(disk, pumped);
  }
  EXPECT_EQ(pumped.reported_replaced(), 0);
}

TEST(EventPump, AJournalThatIsReplacedInUseHasTheOpenRunsBeforeTheyAreSavedAgain) {
  FaultyDisk disk;
  PumpedState pumped;
  pumped.Push({Saved(Update("a", EventType::kStarted), "{a}"),
               Saved(Update("b", EventType::kStarted), "{b}")});
  disk.Fail(SQLITE_FULL);
  pumped.Push({Saved(Update("a", EventType::kReset), "{a reset}"),
               Saved(Stopped("b", "run-b", ShutdownClass::kUser), "")});
  disk.Fail(SQLITE_OK);
  pumped.journal().ReportFound(absl::DataLossError("damaged"), pumped.clock().Now());
  ASSERT_TRUE(pumped.journal().Replace(4, pumped.clock().Now()).ok());
  const OpenedJournal again = OpenAgain(pumped);
  ASSERT_THAT(again.runs, SizeIs(1));
  EXPECT_EQ(again.runs[0].payload, "{a reset}");
  EXPECT_EQ(again.runs[0].last_sequence, 3u);
}

TEST(EventPump, ALongOutageLeavesOneGap) {
  FaultyDisk disk;
  PumpedState pumped;
  pumped.PushEach("a", 1);
  disk.Fail(SQLITE_FULL);
  PushLarge(pumped, 120);
  disk.Fail(SQLITE_OK);
  pumped.clock().Advance(absl::Seconds(10));
  PushLarge(pumped, 1);
  for (const std::vector<v1::Event>& events : {Journaled(pumped), Public(pumped)}) {
    ExpectOneGapInItsPlace(events);
    EXPECT_EQ(events.back().sequence(), 30'251u);
  }
  EXPECT_EQ(OpenAgain(pumped).journal->newest(), 30'251u);
}

TEST(EventPump, WhatAGapSaidIsSaidByTheOneThatTakesItsPlace) {
  FaultyDisk disk;
  PumpedState pumped;
  pumped.PushEach("a", 5);
  disk.Fail(SQLITE_FULL);
  pumped.pump().PublishGap("lost before", EventPump::Missing{4, 5});
  PushLarge(pumped, 40);
  const std::vector<v1::Event> events = Public(pumped);
  ASSERT_GT(events.size(), 6u);
  EXPECT_EQ(events[3].missing().first(), 4u);
  EXPECT_EQ(events[3].missing().last(), events[3].sequence());
}

TEST(EventPump, CatchesUpInStepsAndGoesOnWhereItWasStopped) {
  FaultyDisk disk;
  PumpedState pumped;
  pumped.PushEach("a", 1);
  disk.Fail(SQLITE_FULL);
  PushLarge(pumped, 8);
  disk.Fail(SQLITE_FULL, 1500);  // in the midst of it
  TryAgain(pumped);
  EXPECT_FALSE(pumped.reported_writable());
  const size_t written = Journaled(pumped).size();
  EXPECT_GT(written, 1u);
  EXPECT_LT(written, 2001u);
  pumped.PushEach("a", 1);
  EndOutage(disk, pumped);
  EXPECT_TRUE(pumped.reported_writable());
  const std::vector<v1::Event> kept = Journaled(pumped);
  ASSERT_THAT(kept, AllOf(SizeIs(2002), Each(IsDurable(true))));
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(kept[i].sequence(), i + 1);
  EXPECT_THAT(Public(pumped), AllOf(SizeIs(2002), Each(IsDurable(true))));
}

TEST(EventPump, ALongOutageKeepsNobodyBusy) {
  for (const int code : {SQLITE_FULL, SQLITE_CORRUPT}) {
    FaultyDisk disk;
    PumpedState pumped;
    pumped.PushEach("a", 1);
    disk.Fail(code);
    pumped.PushEach("a", 1);
    pumped.clock().Advance(absl::Minutes(11));  // beyond the next look for old events
    pumped.Push({});
    EXPECT_FALSE(pumped.reported_writable());
    EXPECT_GT(pumped.journal().NextTick(), pumped.clock().Now().monotonic) << code;
  }
}

TEST(EventPump, ASequenceIsNeverGivenTwice) {
  FaultyDisk disk;
  PumpedState pumped;
  pumped.PushEach("a", 2);
  disk.Fail(SQLITE_FULL);
  pumped.PushEach("a", 3);
  const auto mark = SequenceMark::Open(MarkPath(pumped)).value();
  const std::string& id = pumped.journal().journal().journal_id();
  EXPECT_EQ(mark->Of(id).committed, 2u);
  EXPECT_EQ(mark->Of(id).published, 5u);
  EXPECT_EQ(mark->Of("another").published, 0u);
}

// No file of this process can be written, as on a disk that fails.
class UnwritableFiles {
 public:
  UnwritableFiles() {
    getrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit none{0, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &none);
  }
  ~UnwritableFiles() { setrlimit(RLIMIT_FSIZE, &before_); }
  UnwritableFiles(const UnwritableFiles&) = delete;
  UnwritableFiles& operator=(const UnwritableFiles&) = delete;

 private:
  rlimit before_{};
};

TEST(EventPump, WithoutTheSequenceMarkNothingIsPublicThatTheJournalDoesNotHold) {
  FaultyDisk disk;
  PumpedState pumped;
  pumped.PushEach("a", 2);
  disk.Fail(SQLITE_IOERR_WRITE);
  pumped.PushEach("a", 1);
  ASSERT_THAT(Public(pumped), SizeIs(3));
  {
    const UnwritableFiles unwritable;
    pumped.PushEach("a", 3);
    EXPECT_TRUE(pumped.pump().holds_back());
    EXPECT_EQ(pumped.queue().depth(), 2u) << "they wait where there is a bound";
    pumped.queue().SetDirectories({{.path = "/vms", .pattern = "*.qmp", .present = true}});
    EXPECT_TRUE(pumped.pump().RunOnce(absl::InfiniteDuration())) << "a change of these wakes it";
    EXPECT_THAT(pumped.log().directories(), SizeIs(1));
  }
  EXPECT_THAT(Public(pumped), SizeIs(3));
  EXPECT_EQ(SequenceMark::Open(MarkPath(pumped)).value()->value().published, 3u);
}

TEST(EventPump, WhatWasHeldBackFollowsOnceTheMarkOrTheJournalCanBeWritten) {
  for (const bool journal_first : {false, true}) {
    FaultyDisk disk;
    PumpedState pumped;
    pumped.PushEach("a", 1);
    disk.Fail(SQLITE_IOERR_WRITE);
    {
      const UnwritableFiles unwritable;
      pumped.PushEach("a", 3);
      ASSERT_THAT(Public(pumped), SizeIs(1));
    }
    if (journal_first) disk.Fail(SQLITE_OK);
    TryAgain(pumped);
    pumped.Push({});
    EXPECT_FALSE(pumped.pump().holds_back());
    EXPECT_THAT(Public(pumped), AllOf(SizeIs(4), Contains(IsDurable(journal_first)).Times(Ge(3))));
    EndOutage(disk, pumped);
    EXPECT_THAT(Public(pumped), AllOf(SizeIs(4), Each(IsDurable(true))));
    EXPECT_THAT(Journaled(pumped), SizeIs(4));
  }
}

// Calls `line` for each line of the log of stops.
class StopLog : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  static std::shared_ptr<StopLog> Register() {
    auto sink = std::make_shared<StopLog>();
    spdlog::register_logger(std::make_shared<spdlog::logger>(kStopLogger, sink));
    return sink;
  }
  std::function<void()> line = [] {};

 private:
  void sink_it_(const spdlog::details::log_msg&) override { line(); }
  void flush_() override {}
};

TEST(EventPump, AStopIsLoggedOnceItIsInTheJournal) {
  const std::shared_ptr<StopLog> log = StopLog::Register();
  PumpedState pumped;
  size_t journaled_at_line = 0;
  log->line = [&] { journaled_at_line = Journaled(pumped).size(); };
  pumped.Push({Update("a", EventType::kStarted), Stopped("a", "run-a", ShutdownClass::kUser)});
  EXPECT_EQ(journaled_at_line, 2u);
  spdlog::drop(kStopLogger);
}

TEST(EventPump, AStopThatIsHeldBackIsLoggedOnceItIsPublic) {
  const std::shared_ptr<StopLog> log = StopLog::Register();
  FaultyDisk disk;
  PumpedState pumped;
  std::vector<size_t> public_at_line;
  log->line = [&] { public_at_line.push_back(Public(pumped).size()); };
  disk.Fail(SQLITE_IOERR_WRITE);
  {
    const UnwritableFiles unwritable;
    pumped.Push({Update("a", EventType::kStarted), Stopped("a", "run-a", ShutdownClass::kUser)});
    ASSERT_TRUE(pumped.pump().holds_back());
    EXPECT_THAT(public_at_line, IsEmpty());
  }
  TryAgain(pumped);
  EXPECT_THAT(public_at_line, ElementsAre(2u));
  spdlog::drop(kStopLogger);
}

TEST(EventPump, AStopDoesNotWaitForADiskThatTakesNothing) {
  FaultyDisk disk;
  PumpedState pumped;
  disk.Fail(SQLITE_IOERR_WRITE);
  const UnwritableFiles unwritable;
  pumped.PushEach("a", 3);
  pumped.queue().Close();
  EXPECT_FALSE(pumped.pump().RunOnce(absl::InfiniteDuration()));
  EXPECT_THAT(Public(pumped), IsEmpty());
}

TEST(EventPump, ACorruptJournalIsReplacedOnce) {
  FaultyDisk disk;
  PumpedState pumped;
  pumped.PushEach("a", 2);
  const std::string old_id = pumped.journal().journal().journal_id();
  disk.Fail(SQLITE_CORRUPT);
  pumped.PushEach("a", 1);
  EXPECT_EQ(pumped.reported_replaced(), 0) << "no new one can be made now";
  EXPECT_FALSE(pumped.reported_writable());
  EndOutage(disk, pumped);
  EXPECT_EQ(pumped.reported_replaced(), 1);
  EXPECT_TRUE(pumped.reported_writable());
  const std::string new_id = pumped.journal().journal().journal_id();
  EXPECT_NE(new_id, old_id);
  EXPECT_EQ(pumped.live_state().journal_id(), new_id);

  pumped.pump().ReportCorrupt(old_id, absl::DataLossError("a late report of the old one"));
  pumped.PushEach("a", 1);
  EXPECT_EQ(pumped.reported_replaced(), 1);
  const OpenedJournal again = OpenAgain(pumped);
  EXPECT_EQ(again.journal->oldest(), 4u) << "the GAP, after what the old one had";
  EXPECT_EQ(again.journal->newest(), 5u);
  EXPECT_EQ(pumped.live_state().range().oldest, 4u);
}

TEST(EventPump, AReplacedJournalSaysWhatOfTheOldOneIsLost) {
  FaultyDisk disk;
  PumpedState pumped;
  pumped.PushEach("a", 2);
  disk.Fail(SQLITE_CORRUPT);
  pumped.PushEach("a", 3);
  EndOutage(disk, pumped);
  const v1::Event gap = Public(pumped).back();
  EXPECT_EQ(gap.type(), v1::EVENT_TYPE_GAP);
  EXPECT_THAT(gap.message(), HasSubstr("the events up to 2 are there"));
  EXPECT_EQ(gap.missing().first(), 3u);
  EXPECT_EQ(gap.missing().last(), 5u);
}

TEST(EventPump, AKillBeforeTheGapOfANewJournalCondemnsItNot) {
  FaultyDisk disk;
  PumpedState pumped;
  pumped.PushEach("a", 2);
  pumped.journal().ReportFound(absl::DataLossError("damaged"), pumped.clock().Now());
  ASSERT_TRUE(pumped.journal().Replace(2, pumped.clock().Now()).ok());
  const std::string id = pumped.journal().journal().journal_id();
  const auto again =
      OpenJournal(pumped.journal_options(), At(0), [](const std::string&) { return uint64_t{2}; });
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->moved_because, "damaged") << "its GAP is yet to come";
  EXPECT_EQ(again->journal->journal_id(), id);
  EXPECT_EQ(again->journal->newest(), 2u);
  EXPECT_EQ(again->journal->oldest(), 3u);
}

TEST(EventPump, AJournalThatIsMovedAwayInUseIsNoticedAtTheNextCommit) {
  PumpedState pumped;
  pumped.PushEach("a", 2);
  const std::string& path = pumped.journal_options().path;
  ASSERT_EQ(std::rename(path.c_str(), (path + ".away").c_str()), 0);
  pumped.PushEach("a", 1);
  EXPECT_EQ(pumped.reported_replaced(), 1);
  const std::vector<v1::Event> events = Public(pumped);
  ASSERT_THAT(events, SizeIs(4));
  EXPECT_FALSE(events[2].durable()) << "it is in a file that nobody finds again";
  EXPECT_EQ(events[3].type(), v1::EVENT_TYPE_GAP);
  EXPECT_THAT(events[3].message(), HasSubstr("no longer in its place"));
  pumped.PushEach("a", 1);
  const OpenedJournal again = OpenAgain(pumped);
  EXPECT_EQ(again.journal->oldest(), 4u);
  EXPECT_EQ(again.journal->newest(), 5u);
  // What was durable is where the file went.
  JournalOptions away = pumped.journal_options();
  away.path = path + ".away";
  EXPECT_GE(OpenJournal(away, At(0)).value().journal->newest(), 2u);
}

TEST(EventPump, AJournalWhoseLogIsRemovedInUseIsNoticedAtTheNextCommit) {
  PumpedState pumped;
  pumped.PushEach("a", 2);
  ASSERT_EQ(unlink((pumped.journal_options().path + "-wal").c_str()), 0);
  pumped.PushEach("a", 1);
  EXPECT_EQ(pumped.reported_replaced(), 1);
  pumped.PushEach("a", 1);
  EXPECT_EQ(OpenAgain(pumped).journal->newest(), 5u);
}

}  // namespace
}  // namespace vmeventd
