#include "server/eventlog/event_pump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>
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
#include "tests/support/files.h"
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

auto IsDurable(bool durable) { return Property(&v1::Event::durable, durable); }

VmUpdate Saved(VmUpdate update, const std::string& saved_run) {
  update.saved_run = saved_run;
  return update;
}

class EventPumpTest : public ::testing::Test {
 protected:
  std::vector<v1::Event> Public() {
    return EventsOf(pumped_->log().Read(1, {.max_bytes = 1 << 30}).blocks);
  }
  std::vector<v1::Event> Journaled() {
    return EventsOf(pumped_->reader()->ReadFrom(1, 1'000'000, 1 << 30).value().blocks);
  }
  // The journal that the next start of a daemon would find.
  OpenedJournal OpenAgain() { return OpenJournal(pumped_->journal_options(), At(0)).value(); }
  std::string MarkPath() const {
    const std::string& journal = pumped_->journal_options().path;
    return journal.substr(0, journal.rfind('/')) + "/sequence";
  }

  // Begins again with another journal, which is retained so.
  void Begin(const JournalOptions& journal = {}) {
    disk_.Fail(SQLITE_OK);
    pumped_.emplace(LiveStateOptions(), journal);
  }
  // The pump's next try to write, when it is due.
  void TryAgain() {
    pumped_->clock().Advance(absl::Seconds(10));
    pumped_->Push({});
  }
  void EndOutage() {
    disk_.Fail(SQLITE_OK);
    TryAgain();
  }
  // What cannot wait: 4 KB each, in steps of 1 MB.
  void PushLarge(int steps) {
    for (int i = 0; i < steps; ++i) pumped_->Push(std::vector<VmUpdate>(250, LargeUpdate("a")));
  }
  // A journal with `events`, and a lost sector under its oldest.
  void LoseSector(int events) {
    pumped_->PushEach("a", events);
    const std::string& path = pumped_->journal_options().path;
    ASSERT_TRUE(ExecuteSql(path, "PRAGMA wal_checkpoint(TRUNCATE)").ok());
    pumped_->clock().Advance(absl::Seconds(10));
    pumped_->Push({});  // the memory of what was written is given back
    // The oldest stand last in the page.
    const size_t at = e2e::ReadFile(path).find("something happened");
    ASSERT_NE(at, std::string::npos);
    disk_.FailReadsAt(static_cast<int64_t>(at));
  }

  FaultyDisk disk_;  // before any database is opened
  std::optional<PumpedState> pumped_{std::in_place};
};

TEST_F(EventPumpTest, WhatIsPublicIsInTheJournal) {
  pumped_->PushEach("a", 3);
  const std::vector<v1::Event> events = Public();
  EXPECT_THAT(events, AllOf(SizeIs(3), Each(IsDurable(true))));
  const std::vector<v1::Event> kept = Journaled();
  ASSERT_THAT(kept, SizeIs(3));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(events[i].SerializeAsString(), kept[i].SerializeAsString());
  }
}

TEST_F(EventPumpTest, KeepsOpenRunsWithTheirLastSequence) {
  pumped_->Push({Saved(Update("a", EventType::kStarted), "{a}"),
                 Saved(Update("b", EventType::kStarted), "{b}")});
  pumped_->Push({Saved(Update("a", EventType::kReset), "{a reset}")});
  VmUpdate stopped = Saved(Stopped("b", "run-b", ShutdownClass::kUser), "");
  pumped_->Push({stopped});
  const OpenedJournal again = OpenAgain();
  ASSERT_THAT(again.runs, SizeIs(1));
  EXPECT_EQ(again.runs[0].payload, "{a reset}");
  EXPECT_EQ(again.runs[0].last_sequence, 3u);
  ASSERT_THAT(again.stops, SizeIs(1));
  EXPECT_EQ(again.stops[0].sequence, 4u);
  EXPECT_EQ(DecodeSnapshotVmField(again.stops[0].vm).ref().name(), "b");
}

TEST_F(EventPumpTest, OfARunTheLastUpdateOfABatchIsKept) {
  VmUpdate last = Saved(Update("a", EventType::kPaused), "{a paused}");
  last.status->state = VmState::kPaused;
  pumped_->Push({Saved(Update("a", EventType::kStarted), "{a}"),
                 Saved(Update("b", EventType::kStarted), "{b}"),
                 last,
                 {Status("b", "run-b"), std::nullopt}});
  EXPECT_THAT(Public(), SizeIs(3));
  EXPECT_EQ(pumped_->live_state().FindVm({"a", "run-a", ""})->state(), v1::VM_STATE_PAUSED);
  EXPECT_EQ(pumped_->live_state().FindVm({"b", "run-b", ""})->last_sequence(), 2u);
  const OpenedJournal again = OpenAgain();
  ASSERT_THAT(again.runs, SizeIs(2));
  EXPECT_EQ(again.runs[0].payload, "{a paused}");
  EXPECT_EQ(again.runs[0].last_sequence, 3u);
  EXPECT_EQ(again.runs[1].payload, "{b}") << "a later status has none: it stands";
}

TEST_F(EventPumpTest, ARunThatBeginsAndEndsInABatchIsAStopAlone) {
  pumped_->Push({Saved(Update("a", EventType::kStarted), "{a}"),
                 Saved(Stopped("a", "run-a", ShutdownClass::kUser), "")});
  EXPECT_THAT(Public(), SizeIs(2));
  EXPECT_THAT(OpenAgain().runs, IsEmpty());
  EXPECT_THAT(OpenAgain().stops, SizeIs(1));
}

TEST_F(EventPumpTest, AFullDiskDelaysTheJournalAndNothingElse) {
  pumped_->Push({Saved(Update("a", EventType::kStarted), "{a}")});
  disk_.Fail(SQLITE_FULL);
  pumped_->PushEach("a", 2);
  pumped_->Push({Saved(Stopped("a", "run-a", ShutdownClass::kUser), "")});
  EXPECT_FALSE(pumped_->reported_writable());
  EXPECT_FALSE(pumped_->log().health().journal_writable);
  EXPECT_THAT(Public(),
              ElementsAre(IsDurable(true), IsDurable(false), IsDurable(false), IsDurable(false)));
  EXPECT_THAT(Journaled(), SizeIs(1));

  TryAgain();
  EXPECT_FALSE(pumped_->reported_writable()) << "still full";
  EndOutage();
  EXPECT_TRUE(pumped_->reported_writable());
  EXPECT_TRUE(pumped_->log().health().journal_writable);
  EXPECT_THAT(Journaled(), AllOf(SizeIs(4), Each(IsDurable(true))));
  EXPECT_THAT(Public(), AllOf(SizeIs(4), Each(IsDurable(true))));
  EXPECT_THAT(OpenAgain().runs, IsEmpty());
  EXPECT_THAT(OpenAgain().stops, SizeIs(1));
}

TEST_F(EventPumpTest, WhoWaitsForAnEventHearsWhetherItIsDurable) {
  std::vector<bool> heard;
  const auto awaited = [&](const std::string& saved_run) {
    VmUpdate update = Saved(Update("a", EventType::kIntentDeclared), saved_run);
    update.on_public = [&] { heard.push_back(pumped_->log().health().journal_writable); };
    return update;
  };
  pumped_->Push({awaited("{a}")});
  disk_.Fail(SQLITE_FULL);
  pumped_->Push({awaited("{a declared}")});
  disk_.Fail(SQLITE_OK);
  pumped_->Push({awaited("{a declared again}")});  // behind what waits
  EXPECT_THAT(heard, ElementsAre(true, false, false));
}

TEST_F(EventPumpTest, WhatWaitsIsWrittenAtTheStopWithoutWaitingForTheNextTry) {
  disk_.Fail(SQLITE_FULL);
  pumped_->PushEach("a", 3);
  disk_.Fail(SQLITE_OK);
  ASSERT_GT(pumped_->journal().NextTick(), pumped_->clock().Now().monotonic) << "not due";
  pumped_->queue().Close();
  EXPECT_FALSE(pumped_->pump().RunOnce(absl::ZeroDuration()));
  EXPECT_THAT(Journaled(), AllOf(SizeIs(3), Each(IsDurable(true))));
  EXPECT_THAT(Public(), AllOf(SizeIs(3), Each(IsDurable(true))));
}

TEST_F(EventPumpTest, OldEventsAreDeletedWhileNothingElseHappens) {
  Begin({.retention_events = 1000});
  const Journal& journal = pumped_->journal().journal();
  pumped_->PushEach("a", 1006);
  EXPECT_EQ(journal.oldest(), 1u) << "no commit waits for it";
  EXPECT_LE(pumped_->journal().NextTick(), pumped_->clock().Now().monotonic);
  pumped_->Push({});
  EXPECT_EQ(journal.oldest(), 7u);
  EXPECT_EQ(pumped_->live_state().range().oldest, 7u);
  EXPECT_GT(pumped_->journal().NextTick(), pumped_->clock().Now().monotonic) << "it does not spin";
}

TEST_F(EventPumpTest, TheLastOldEventsAreDeletedAWhileAfterTheLastCommit) {
  Begin({.retention_events = 1000});
  const Journal& journal = pumped_->journal().journal();
  pumped_->PushEach("a", 1000);
  pumped_->Push({});  // what is small is joined
  pumped_->PushEach("a", 3);
  pumped_->Push({});
  EXPECT_EQ(journal.oldest(), 1u) << "a few wait for more";
  pumped_->clock().Advance(absl::Seconds(5));
  pumped_->Push({});
  EXPECT_LE(pumped_->journal().NextTick(), pumped_->clock().Now().monotonic);
  pumped_->Push({});
  EXPECT_EQ(journal.oldest(), 4u);
}

TEST_F(EventPumpTest, AShortAgeIsLookedAtMoreOften) {
  Begin({.retention_age = absl::Minutes(10)});
  const Journal& journal = pumped_->journal().journal();
  pumped_->PushEach("a", 1);
  pumped_->clock().Advance(absl::Minutes(10) + absl::Seconds(1));
  pumped_->PushEach("a", 1);
  EXPECT_EQ(journal.oldest(), 2u);
  pumped_->PushEach("a", 1);
  EXPECT_EQ(journal.oldest(), 2u) << "not due";
  pumped_->clock().Advance(absl::Seconds(6));
  pumped_->PushEach("a", 1);
  EXPECT_EQ(journal.oldest(), 4u);
}

TEST_F(EventPumpTest, ManyOldEventsAreDeletedStepByStep) {
  Begin({.retention_events = 1000});
  const Journal& journal = pumped_->journal().journal();
  pumped_->Push(std::vector<VmUpdate>(1000, Update("a", EventType::kReset)));
  pumped_->clock().Advance(absl::Hours(24 * 31));
  pumped_->PushEach("a", 1);
  EXPECT_EQ(journal.oldest(), 501u) << "the ten minutes are over";
  pumped_->PushEach("a", 1);
  EXPECT_EQ(journal.oldest(), 501u) << "not idle";
  pumped_->Push({});
  EXPECT_EQ(journal.oldest(), 1001u);
}

TEST_F(EventPumpTest, TheMemoryOfCommitsIsGivenBackAWhileAfterThem) {
  pumped_->PushEach("a", 200);
  const int64_t before = sqlite3_memory_used();
  pumped_->Push({});
  EXPECT_GE(sqlite3_memory_used(), before) << "not at once";
  pumped_->clock().Advance(absl::Seconds(5));
  EXPECT_LE(pumped_->journal().NextTick(), pumped_->clock().Now().monotonic);
  pumped_->Push({});
  EXPECT_LT(sqlite3_memory_used(), before - 50'000);
  EXPECT_GT(pumped_->journal().NextTick(), pumped_->clock().Now().monotonic + absl::Minutes(1));
  pumped_->PushEach("a", 1);
  EXPECT_THAT(Journaled(), SizeIs(201));
}

TEST_F(EventPumpTest, AFailureAtAnyPointOfACommitLeavesAllOrNothing) {
  for (const int code : {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC}) {
    for (int after = 0; after < 12; ++after) {
      Begin();
      pumped_->Push({Saved(Update("a", EventType::kStarted), "{a}")});
      disk_.Fail(code, after);
      pumped_->Push({Saved(Stopped("a", "run-a", ShutdownClass::kUser), "")});
      disk_.Fail(SQLITE_OK);
      const OpenedJournal now = OpenAgain();
      EXPECT_EQ(now.runs.size(), now.journal->newest() == 2 ? 0u : 1u) << code << " " << after;
      pumped_->clock().Advance(absl::Seconds(10));
      pumped_->PushEach("b", 1);
      EXPECT_TRUE(pumped_->reported_writable());
      EXPECT_THAT(Journaled(), AllOf(SizeIs(3), Each(IsDurable(true))));
      EXPECT_THAT(OpenAgain().runs, IsEmpty());
    }
  }
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

TEST_F(EventPumpTest, WhatIsGivenUpLeavesAGapInItsPlace) {
  pumped_->PushEach("a", 1);
  disk_.Fail(SQLITE_FULL);
  PushLarge(40);
  const std::vector<v1::Event> meanwhile = Public();
  ExpectOneGapInItsPlace(meanwhile);
  EXPECT_EQ(meanwhile.back().sequence(), 10'001u);
  EXPECT_LT(meanwhile.size(), 9000u);
  EXPECT_GT(meanwhile.size(), 5000u);
  EXPECT_FALSE(meanwhile[1].durable());

  EndOutage();
  EXPECT_TRUE(pumped_->reported_writable());
  for (const std::vector<v1::Event>& events : {Journaled(), Public()}) {
    ExpectOneGapInItsPlace(events);
    EXPECT_THAT(events, AllOf(SizeIs(meanwhile.size()), Each(IsDurable(true))));
  }
  EXPECT_EQ(pumped_->journal().meters().given_up_events.value(), 10'001 - meanwhile.size() + 1);
}

TEST_F(EventPumpTest, RunsAndStopsThatWaitKeepTheBoundOfTheBacklog) {
  pumped_->Push({Saved(Update("first", EventType::kStarted), "{}")});
  disk_.Fail(SQLITE_FULL);
  pumped_->Push({Saved(Stopped("first", "run-first", ShutdownClass::kUser), "")});
  const std::string evidence(100'000, 'x');
  for (int i = 0; i < 1000; ++i) {
    pumped_->Push({Saved(Update(absl::StrCat("vm", i), EventType::kReset), evidence)});
    ASSERT_LE(pumped_->journal().meters().backlog_bytes.value(), JournalWriter::kMaxBacklogBytes);
  }
  EXPECT_GT(pumped_->journal().meters().given_up_runs.value(), 500u);
  EndOutage();
  EXPECT_TRUE(pumped_->reported_writable());
  const OpenedJournal again = OpenAgain();
  EXPECT_GT(again.runs.size(), 100u);
  for (const SavedRun& saved : again.runs) {
    EXPECT_NE(saved.run_id, "run-first") << "that it is over is not given up";
    EXPECT_EQ(saved.payload, evidence);
  }
}

TEST_F(EventPumpTest, WhatWasLeftOfAnOutageIsWrittenAfterTriesThatFail) {
  disk_.Fail(SQLITE_FULL);
  pumped_->Push({Saved(Update("left", EventType::kStarted), "{evidence}")});
  pumped_->Push({Stopped("stopped", "run-stopped", ShutdownClass::kUser)});
  PushLarge(40);
  for (int i = 0; i < 5; ++i) {
    TryAgain();
    EXPECT_FALSE(pumped_->reported_writable());
  }
  EndOutage();
  const OpenedJournal again = OpenAgain();
  ASSERT_THAT(again.runs, SizeIs(1));
  EXPECT_EQ(again.runs[0].payload, "{evidence}");
  EXPECT_THAT(again.stops, SizeIs(1));
}

TEST_F(EventPumpTest, ALostSectorUnderOldEventsIsDamageAfterMinutesAndKeepsNoEventFromTheJournal) {
  Begin({.retention_events = 500});
  LoseSector(500);
  const absl::Time began = pumped_->clock().Now().wall;
  while (pumped_->reported_replaced() == 0) {
    ASSERT_LT(pumped_->clock().Now().wall - began, absl::Minutes(10));
    pumped_->PushEach("a", 1);
    EXPECT_TRUE(pumped_->reported_writable());
    pumped_->clock().Advance(absl::Seconds(1));
  }
  EXPECT_GE(pumped_->clock().Now().wall - began, UnreadablePlaces::kLasts);
  EXPECT_GT(pumped_->journal().meters().retention_errors.value(), 2u);
  EXPECT_EQ(pumped_->journal().meters().write_errors.value(), 0u);
  EXPECT_THAT(Public(), Each(IsDurable(true)));
}

TEST_F(EventPumpTest, AReplayThatMeetsALostSectorEachTimeFindsDamage) {
  LoseSector(500);
  const auto replay = [&] {
    const absl::Status met = JournalReader::Open(pumped_->journal_options().path)
                                 .value()
                                 ->ReadFrom(1, 500, 1 << 20)
                                 .status();
    EXPECT_TRUE(IsReadError(met)) << met;
    pumped_->pump().ReportCorrupt(kJournal, met);
    pumped_->Push({});
  };
  for (int i = 0; i < 100; ++i) {
    replay();
    pumped_->clock().Advance(absl::Seconds(1));
    ASSERT_EQ(pumped_->reported_replaced(), 0) << "it may pass";
  }
  pumped_->clock().Advance(absl::Seconds(20));
  replay();
  EXPECT_EQ(pumped_->reported_replaced(), 1);
}

// As lists of what begins anywhere, in one outage of the disk and in another one.
TEST_F(EventPumpTest, ReadErrorsWithoutAPlaceAreNoDamage) {
  pumped_->PushEach("a", 5);
  absl::Status met = absl::UnavailableError("disk I/O error");
  MarkReadError(&met);
  for (int i = 0; i < 10; ++i) {
    pumped_->pump().ReportCorrupt(kJournal, met);
    pumped_->Push({});
    pumped_->clock().Advance(absl::Minutes(1));
  }
  EXPECT_EQ(pumped_->reported_replaced(), 0);
}

TEST_F(EventPumpTest, ADiskThatFailsAsAWholeDamagesNothing) {
  LoseSector(500);
  for (int i = 0; i < 50; ++i) {
    pumped_->pump().ReportCorrupt(
        kJournal,
        JournalReader::Open(pumped_->journal_options().path).value()->ReadFrom(1, 500, 1).status());
    disk_.Fail(SQLITE_IOERR_WRITE);
    pumped_->PushEach("a", 1);
    EndOutage();
  }
  EXPECT_EQ(pumped_->reported_replaced(), 0);
}

TEST_F(EventPumpTest, AJournalThatIsReplacedInUseHasTheOpenRunsBeforeTheyAreSavedAgain) {
  pumped_->Push({Saved(Update("a", EventType::kStarted), "{a}"),
                 Saved(Update("b", EventType::kStarted), "{b}")});
  disk_.Fail(SQLITE_FULL);
  pumped_->Push({Saved(Update("a", EventType::kReset), "{a reset}"),
                 Saved(Stopped("b", "run-b", ShutdownClass::kUser), "")});
  disk_.Fail(SQLITE_OK);
  pumped_->journal().ReportFound(absl::DataLossError("damaged"), pumped_->clock().Now());
  ASSERT_TRUE(pumped_->journal().Replace(4, pumped_->clock().Now()).ok());
  const OpenedJournal again = OpenAgain();
  ASSERT_THAT(again.runs, SizeIs(1));
  EXPECT_EQ(again.runs[0].payload, "{a reset}");
  EXPECT_EQ(again.runs[0].last_sequence, 3u);
}

TEST_F(EventPumpTest, ALongOutageLeavesOneGap) {
  pumped_->PushEach("a", 1);
  disk_.Fail(SQLITE_FULL);
  PushLarge(120);
  disk_.Fail(SQLITE_OK);
  pumped_->clock().Advance(absl::Seconds(10));
  PushLarge(1);
  for (const std::vector<v1::Event>& events : {Journaled(), Public()}) {
    ExpectOneGapInItsPlace(events);
    EXPECT_EQ(events.back().sequence(), 30'251u);
  }
  EXPECT_EQ(OpenAgain().journal->newest(), 30'251u);
}

TEST_F(EventPumpTest, WhatAGapSaidIsSaidByTheOneThatTakesItsPlace) {
  pumped_->PushEach("a", 5);
  disk_.Fail(SQLITE_FULL);
  pumped_->pump().PublishGap("lost before", EventPump::Missing{4, 5});
  PushLarge(40);
  const std::vector<v1::Event> events = Public();
  ASSERT_GT(events.size(), 6u);
  EXPECT_EQ(events[3].missing().first(), 4u);
  EXPECT_EQ(events[3].missing().last(), events[3].sequence());
}

TEST_F(EventPumpTest, CatchesUpInStepsAndGoesOnWhereItWasStopped) {
  pumped_->PushEach("a", 1);
  disk_.Fail(SQLITE_FULL);
  PushLarge(8);
  disk_.Fail(SQLITE_FULL, 1500);  // in the midst of it
  TryAgain();
  EXPECT_FALSE(pumped_->reported_writable());
  const size_t written = Journaled().size();
  EXPECT_GT(written, 1u);
  EXPECT_LT(written, 2001u);
  pumped_->PushEach("a", 1);
  EndOutage();
  EXPECT_TRUE(pumped_->reported_writable());
  const std::vector<v1::Event> kept = Journaled();
  ASSERT_THAT(kept, AllOf(SizeIs(2002), Each(IsDurable(true))));
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(kept[i].sequence(), i + 1);
  EXPECT_THAT(Public(), AllOf(SizeIs(2002), Each(IsDurable(true))));
}

TEST_F(EventPumpTest, ALongOutageKeepsNobodyBusy) {
  for (const int code : {SQLITE_FULL, SQLITE_CORRUPT}) {
    Begin();
    pumped_->PushEach("a", 1);
    disk_.Fail(code);
    pumped_->PushEach("a", 1);
    pumped_->clock().Advance(absl::Minutes(11));  // beyond the next look for old events
    pumped_->Push({});
    EXPECT_FALSE(pumped_->reported_writable());
    EXPECT_GT(pumped_->journal().NextTick(), pumped_->clock().Now().monotonic) << code;
  }
}

TEST_F(EventPumpTest, ASequenceIsNeverGivenTwice) {
  pumped_->PushEach("a", 2);
  disk_.Fail(SQLITE_FULL);
  pumped_->PushEach("a", 3);
  const auto mark = SequenceMark::Open(MarkPath()).value();
  const std::string& id = pumped_->journal().journal().journal_id();
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

TEST_F(EventPumpTest, WithoutTheSequenceMarkNothingIsPublicThatTheJournalDoesNotHold) {
  pumped_->PushEach("a", 2);
  disk_.Fail(SQLITE_IOERR_WRITE);
  pumped_->PushEach("a", 1);
  ASSERT_THAT(Public(), SizeIs(3));
  {
    const UnwritableFiles unwritable;
    pumped_->PushEach("a", 3);
    EXPECT_TRUE(pumped_->pump().holds_back());
    EXPECT_EQ(pumped_->queue().depth(), 2u) << "they wait where there is a bound";
    pumped_->queue().SetDirectories({{.path = "/vms", .pattern = "*.qmp", .present = true}});
    EXPECT_TRUE(pumped_->pump().RunOnce(absl::InfiniteDuration())) << "a change of these wakes it";
    EXPECT_THAT(pumped_->log().directories(), SizeIs(1));
  }
  EXPECT_THAT(Public(), SizeIs(3));
  EXPECT_EQ(SequenceMark::Open(MarkPath()).value()->value().published, 3u);
}

TEST_F(EventPumpTest, WhatWasHeldBackFollowsOnceTheMarkOrTheJournalCanBeWritten) {
  for (const bool journal_first : {false, true}) {
    Begin();
    pumped_->PushEach("a", 1);
    disk_.Fail(SQLITE_IOERR_WRITE);
    {
      const UnwritableFiles unwritable;
      pumped_->PushEach("a", 3);
      ASSERT_THAT(Public(), SizeIs(1));
    }
    if (journal_first) disk_.Fail(SQLITE_OK);
    TryAgain();
    pumped_->Push({});
    EXPECT_FALSE(pumped_->pump().holds_back());
    EXPECT_THAT(Public(), AllOf(SizeIs(4), Contains(IsDurable(journal_first)).Times(Ge(3))));
    EndOutage();
    EXPECT_THAT(Public(), AllOf(SizeIs(4), Each(IsDurable(true))));
    EXPECT_THAT(Journaled(), SizeIs(4));
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

TEST_F(EventPumpTest, AStopIsLoggedOnceItIsInTheJournal) {
  const std::shared_ptr<StopLog> log = StopLog::Register();
  size_t journaled_at_line = 0;
  log->line = [&] { journaled_at_line = Journaled().size(); };
  pumped_->Push({Update("a", EventType::kStarted), Stopped("a", "run-a", ShutdownClass::kUser)});
  EXPECT_EQ(journaled_at_line, 2u);
  spdlog::drop(kStopLogger);
}

TEST_F(EventPumpTest, AStopThatIsHeldBackIsLoggedOnceItIsPublic) {
  const std::shared_ptr<StopLog> log = StopLog::Register();
  std::vector<size_t> public_at_line;
  log->line = [&] { public_at_line.push_back(Public().size()); };
  disk_.Fail(SQLITE_IOERR_WRITE);
  {
    const UnwritableFiles unwritable;
    pumped_->Push({Update("a", EventType::kStarted), Stopped("a", "run-a", ShutdownClass::kUser)});
    ASSERT_TRUE(pumped_->pump().holds_back());
    EXPECT_THAT(public_at_line, IsEmpty());
  }
  TryAgain();
  EXPECT_THAT(public_at_line, ElementsAre(2u));
  spdlog::drop(kStopLogger);
}

TEST_F(EventPumpTest, AStopDoesNotWaitForADiskThatTakesNothing) {
  disk_.Fail(SQLITE_IOERR_WRITE);
  const UnwritableFiles unwritable;
  pumped_->PushEach("a", 3);
  pumped_->queue().Close();
  EXPECT_FALSE(pumped_->pump().RunOnce(absl::InfiniteDuration()));
  EXPECT_THAT(Public(), IsEmpty());
}

TEST_F(EventPumpTest, ACorruptJournalIsReplacedOnce) {
  pumped_->PushEach("a", 2);
  const std::string old_id = pumped_->journal().journal().journal_id();
  disk_.Fail(SQLITE_CORRUPT);
  pumped_->PushEach("a", 1);
  EXPECT_EQ(pumped_->reported_replaced(), 0) << "no new one can be made now";
  EXPECT_FALSE(pumped_->reported_writable());
  EndOutage();
  EXPECT_EQ(pumped_->reported_replaced(), 1);
  EXPECT_TRUE(pumped_->reported_writable());
  const std::string new_id = pumped_->journal().journal().journal_id();
  EXPECT_NE(new_id, old_id);
  EXPECT_EQ(pumped_->live_state().journal_id(), new_id);

  pumped_->pump().ReportCorrupt(old_id, absl::DataLossError("a late report of the old one"));
  pumped_->PushEach("a", 1);
  EXPECT_EQ(pumped_->reported_replaced(), 1);
  const OpenedJournal again = OpenAgain();
  EXPECT_EQ(again.journal->oldest(), 4u) << "the GAP, after what the old one had";
  EXPECT_EQ(again.journal->newest(), 5u);
  EXPECT_EQ(pumped_->live_state().range().oldest, 4u);
}

TEST_F(EventPumpTest, AReplacedJournalSaysWhatOfTheOldOneIsLost) {
  pumped_->PushEach("a", 2);
  disk_.Fail(SQLITE_CORRUPT);
  pumped_->PushEach("a", 3);
  EndOutage();
  const v1::Event gap = Public().back();
  EXPECT_EQ(gap.type(), v1::EVENT_TYPE_GAP);
  EXPECT_THAT(gap.message(), HasSubstr("the events up to 2 are there"));
  EXPECT_EQ(gap.missing().first(), 3u);
  EXPECT_EQ(gap.missing().last(), 5u);
}

TEST_F(EventPumpTest, AKillBeforeTheGapOfANewJournalCondemnsItNot) {
  pumped_->PushEach("a", 2);
  pumped_->journal().ReportFound(absl::DataLossError("damaged"), pumped_->clock().Now());
  ASSERT_TRUE(pumped_->journal().Replace(2, pumped_->clock().Now()).ok());
  const std::string id = pumped_->journal().journal().journal_id();
  const auto again = OpenJournal(pumped_->journal_options(), At(0),
                                 [](const std::string&) { return uint64_t{2}; });
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->moved_because, "damaged") << "its GAP is yet to come";
  EXPECT_EQ(again->journal->journal_id(), id);
  EXPECT_EQ(again->journal->newest(), 2u);
  EXPECT_EQ(again->journal->oldest(), 3u);
}

TEST_F(EventPumpTest, AJournalThatIsMovedAwayInUseIsNoticedAtTheNextCommit) {
  pumped_->PushEach("a", 2);
  const std::string& path = pumped_->journal_options().path;
  ASSERT_EQ(std::rename(path.c_str(), (path + ".away").c_str()), 0);
  pumped_->PushEach("a", 1);
  EXPECT_EQ(pumped_->reported_replaced(), 1);
  const std::vector<v1::Event> events = Public();
  ASSERT_THAT(events, SizeIs(4));
  EXPECT_FALSE(events[2].durable()) << "it is in a file that nobody finds again";
  EXPECT_EQ(events[3].type(), v1::EVENT_TYPE_GAP);
  EXPECT_THAT(events[3].message(), HasSubstr("no longer in its place"));
  pumped_->PushEach("a", 1);
  const OpenedJournal again = OpenAgain();
  EXPECT_EQ(again.journal->oldest(), 4u);
  EXPECT_EQ(again.journal->newest(), 5u);
  // What was durable is where the file went.
  JournalOptions away = pumped_->journal_options();
  away.path = path + ".away";
  EXPECT_GE(OpenJournal(away, At(0)).value().journal->newest(), 2u);
}

TEST_F(EventPumpTest, AJournalWhoseLogIsRemovedInUseIsNoticedAtTheNextCommit) {
  pumped_->PushEach("a", 2);
  ASSERT_EQ(unlink((pumped_->journal_options().path + "-wal").c_str()), 0);
  pumped_->PushEach("a", 1);
  EXPECT_EQ(pumped_->reported_replaced(), 1);
  pumped_->PushEach("a", 1);
  EXPECT_EQ(OpenAgain().journal->newest(), 5u);
}

}  // namespace
}  // namespace vmeventd
