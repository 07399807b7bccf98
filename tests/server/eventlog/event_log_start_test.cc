// Starts of a log, seen from outside of it: after a stop, a crash or a handover, and with a journal
// that cannot be opened or used.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "server/eventlog/damage_report.h"
#include "server/eventlog/event_log.h"
#include "tests/server/eventlog/overflow.h"
#include "tests/support/client_events.h"
#include "tests/support/database_file.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/journal_events.h"
#include "tests/support/log_vms.h"
#include "tests/support/manual_clock.h"
#include "tests/support/pumped_state.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_time.h"
#include "tests/support/vm_updates.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;

TEST(EventLog, AfterAStopInOrderTheSequencesContinueWithoutAGap) {
  PumpedState state;
  state.PushEach("a", 3);
  state.Restart(/*in_order=*/true);
  EXPECT_EQ(state.log().range().newest, 3u);
  state.PushEach("a", 1);
  EXPECT_THAT(Durability(state.Events()),
              ElementsAre(Pair(1, true), Pair(2, true), Pair(3, true), Pair(4, true)));
  EXPECT_EQ(state.log().identity().journal_id, kJournal);
  EXPECT_TRUE(state.log().previous().runs_are_known);
}

TEST(EventLog, TheNextDaemonKnowsTheLastWatchedTime) {
  for (const bool in_order : {true, false}) {
    PumpedState state;
    EXPECT_EQ(state.log().previous().last_watched, absl::InfinitePast());
    state.log().Watched(At(5));
    state.PushEach("a", 1);
    state.Restart(in_order);
    EXPECT_TRUE(state.log().previous().existed);
    EXPECT_EQ(state.log().previous().last_watched, At(5));
  }
}

// What was pushed before, and is not in the journal, may be an end that the next daemon finds.
TEST(EventLog, TheWatchedTimeIsRecordedOnlyAfterEarlierEventsAreWritten) {
  PumpedState state;
  state.log().Watched(At(5));
  state.PushEach("a", 1);
  state.PushUnwritten({Reset()});
  state.log().Watched(At(6));
  HandedLog handed = state.log().HandOver();
  EXPECT_EQ(handed.watched_until, At(6));
  state.Restart(/*in_order=*/false);
  EXPECT_EQ(state.log().previous().last_watched, At(5));
  state.Restart(/*in_order=*/false, [&](const JournalEnd&) { return handed; });
  EXPECT_EQ(state.log().previous().last_watched, At(6)) << "all of it was handed over";
}

TEST(EventLog, AfterACrashNoSequenceIsReusedAndAGapNamesTheMissingOnes) {
  PumpedState state;
  state.PushEach("a", 2);
  state.PushUnwritten({Reset()});  // given, and lost
  state.Restart(/*in_order=*/false);
  const std::vector<v1::Event> events = state.Events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[2].type(), v1::EVENT_TYPE_GAP);
  EXPECT_EQ(events[2].missing().first(), 3u);
  EXPECT_EQ(events[2].missing().last(), events[2].sequence() - 1);
  EXPECT_GE(events[2].sequence(), 100'000u);
  EXPECT_EQ(state.log().range().durable, events[2].sequence());
}

// Restarts: the start can read the file of the reserved sequences, but not write it.
void RestartWithoutMark(PumpedState* state) {
  const std::filesystem::path path =
      std::filesystem::path(state->journal_options().path).parent_path() / "sequence";
  const std::filesystem::path away = path.string() + ".away";
  std::filesystem::rename(path, away);
  std::filesystem::create_symlink(away, path);
  state->Restart(/*in_order=*/false);
  std::filesystem::rename(away, path);
}

TEST(EventLog, AStartThatCannotReserveSequencesBeginsANewJournalWithTheSameEvents) {
  PumpedState state;
  state.PushEach("a", 2);
  state.Restart(/*in_order=*/true);
  RestartWithoutMark(&state);
  EXPECT_NE(state.log().identity().journal_id, kJournal);
  EXPECT_TRUE(absl::IsOutOfRange(state.log().Begin(AfterSequence{2, kJournal}).status()));
  const std::string journal_id = state.log().identity().journal_id;
  state.clock().Advance(absl::Seconds(1));
  state.Write();
  const std::vector<v1::Event> events = state.Events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[2].gap_reason(), v1::GAP_REASON_JOURNAL_REPLACED);
  EXPECT_THAT(events[2].message(), HasSubstr("cannot reserve sequences"));
  state.Restart(/*in_order=*/false);
  EXPECT_EQ(state.log().identity().journal_id, journal_id) << "the mark was written meanwhile";
}

// Restarts: the start can neither read nor write the file of the reserved sequences.
void RestartWithUnreadableMark(PumpedState* state, const TakeHanded& take_handed = nullptr) {
  const std::filesystem::path path =
      std::filesystem::path(state->journal_options().path).parent_path() / "sequence";
  const std::filesystem::path away = path.string() + ".away";
  std::filesystem::rename(path, away);
  std::filesystem::create_directory(path);
  state->Restart(/*in_order=*/false, take_handed);
  std::filesystem::remove(path);
  std::filesystem::rename(away, path);
}

TEST(EventLog, AStartThatCannotReadTheUsedSequencesBeginsANewJournalWithTheSameEvents) {
  PumpedState state;
  VmUpdate started = Update("a", EventType::kStarted);
  started.saved_run = "state";
  state.Push({started});
  RestartWithUnreadableMark(&state);
  EXPECT_NE(state.log().identity().journal_id, kJournal);
  EXPECT_TRUE(state.log().previous().existed);
  EXPECT_TRUE(state.log().previous().runs_are_known);
  EXPECT_THAT(state.log().TakeRuns(), SizeIs(1));
  state.clock().Advance(absl::Seconds(1));
  state.Write();
  const std::vector<v1::Event> events = state.Events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[1].gap_reason(), v1::GAP_REASON_JOURNAL_REPLACED);
  EXPECT_THAT(events[1].message(), HasSubstr("the last sequence is not known"));
}

// The file may have any sequence of this journal, and cannot be written either.
TEST(EventLog, AHandedLogBeginsANewJournalIfTheUsedSequencesCannotBeReadOrReserved) {
  PumpedState state;
  state.PushEach("a", 2);
  const HandedLog handed = state.log().HandOver();
  RestartWithUnreadableMark(&state, [&](const JournalEnd&) { return handed; });
  EXPECT_NE(state.log().identity().journal_id, kJournal);
  EXPECT_GT(state.log().range().newest, 2u) << "a GAP says so";
}

TEST(EventLog, TheNextStartReportsMissingSequencesThatNoGapNames) {
  PumpedState state;
  Overflow(&state);
  ASSERT_TRUE(state.log().StepWriter());  // what is behind the hole, and not its GAP
  const uint64_t lost = state.log().meters().lost_events.value();
  state.Restart(/*in_order=*/false);
  const std::vector<v1::Event> events = state.Events();
  const v1::Event* const gap = FindGap(events);
  ASSERT_NE(gap, nullptr);
  EXPECT_LE(gap->missing().first(), 1u);
  EXPECT_GT(gap->missing().last(), lost);
}

// Three events, of which the disk takes the first.
class HandedLogTest : public ::testing::Test {
 protected:
  HandedLogTest() {
    VmUpdate began = Update("a", EventType::kStarted);
    began.saved_run = "state of a";
    state_.Push({began});
    disk_.Fail(SQLITE_FULL);
    VmUpdate ended = Stopped("a", "run-a", ShutdownClass::kUser);
    ended.saved_run = "";
    state_.Push({ended, Update("b", EventType::kStarted)});
  }
  // The next daemon, which is handed all of it.
  void Resume() {
    HandedLog handed = state_.log().HandOver();
    handed.runs = {{"run-b", {"state of b", 3}}};
    state_.Restart(/*in_order=*/false, [&](const JournalEnd& found) {
      EXPECT_TRUE(handed.end.MayBeSameJournal(found));
      return handed;
    });
  }
  void ExpectAll(bool durable) {
    EXPECT_THAT(Durability(state_.Events()),
                ElementsAre(Pair(1, true), Pair(2, durable), Pair(3, durable)));
    EXPECT_EQ(state_.log().range().newest, 3u);
    EXPECT_EQ(state_.log().range().durable, durable ? 3u : 1u);
    EXPECT_TRUE(FindVm(state_.log(), {"a", "run-a", ""})->stopped());
  }

  FaultyDisk disk_;
  PumpedState state_;
};

TEST_F(HandedLogTest, HandedEventsStillWaitForAFullDisk) {
  ExpectAll(/*durable=*/false);
  for (int i = 0; i < 2; ++i) {
    Resume();
    ExpectAll(/*durable=*/false);
  }
  disk_.Fail(SQLITE_OK);
  state_.clock().Advance(absl::Seconds(1));
  state_.Write();
  ExpectAll(/*durable=*/true);
  state_.PushEach("b", 1);
  EXPECT_EQ(state_.log().range().durable, 4u) << "no sequence is missing";
}

TEST_F(HandedLogTest, OnlyTheHandedOverRunsAreOpen) {
  disk_.Fail(SQLITE_OK);
  Resume();
  ExpectAll(/*durable=*/true);
  const SavedRuns saved = state_.log().TakeRuns();
  ASSERT_THAT(saved, SizeIs(1));
  EXPECT_EQ(saved.at("run-b").payload, "state of b");
  EXPECT_EQ(saved.at("run-b").last_sequence, 3u);
  state_.Restart(/*in_order=*/false);
  EXPECT_THAT(state_.log().TakeRuns(), SizeIs(0)) << "the journal has no longer the first run";
}

// The disk that hung took them after all.
TEST_F(HandedLogTest, EventsThatAHungDiskWroteLateAreNotWrittenTwice) {
  HandedLog handed = state_.log().HandOver();
  EXPECT_THAT(handed.unwritten.events, SizeIs(2));
  disk_.Fail(SQLITE_OK);
  state_.clock().Advance(absl::Seconds(1));
  state_.Write();
  state_.Restart(/*in_order=*/false, [&](const JournalEnd& found) {
    EXPECT_EQ(found.stored, 3u);
    return handed;
  });
  EXPECT_TRUE(state_.reported_writable());
  ExpectAll(/*durable=*/true);
}

// The previous daemon began the journal with that id, and could not store it.
TEST_F(HandedLogTest, TheHandedJournalIdTakesPrecedenceOverTheFile) {
  disk_.Fail(SQLITE_OK);
  HandedLog handed = state_.log().HandOver();
  handed.journal_id = "another";
  state_.Restart(/*in_order=*/false, [&](const JournalEnd&) { return handed; });
  EXPECT_EQ(state_.log().identity().journal_id, "another");
  ExpectAll(/*durable=*/true);
  state_.Restart(/*in_order=*/true);
  EXPECT_EQ(state_.log().identity().journal_id, "another");
}

TEST_F(HandedLogTest, TheOldestEventsAreDroppedBeyondTheBound) {
  for (int i = 0; i < 20; ++i) state_.PushEach("b", 1);
  HandedLog handed = state_.log().HandOver();
  ASSERT_THAT(handed.unwritten.events, SizeIs(22));
  disk_.Fail(SQLITE_OK);
  PumpedState small(
      EventLogOptions{.max_waiting_bytes = 8 * handed.unwritten.events.back()->memory()});
  disk_.Fail(SQLITE_FULL);
  small.Restart(/*in_order=*/false, [&](const JournalEnd&) { return handed; });
  const std::vector<v1::Event> left = small.Events(small.log().range().oldest);
  ASSERT_GT(left.size(), 5u);
  EXPECT_EQ(left[left.size() - 2].sequence(), 23u);
  EXPECT_EQ(left.back().missing().last(), 1u) << "which was written to another journal";
  EXPECT_LT(left.size(), 12u);
}

// More events waited than the bound permits.
TEST_F(HandedLogTest, AGapNamesEventsThatAreNeitherWrittenNorHandedOver) {
  HandedLog handed = state_.log().HandOver();
  handed.unwritten.events.erase(handed.unwritten.events.begin());
  disk_.Fail(SQLITE_OK);
  state_.Restart(/*in_order=*/false, [&](const JournalEnd&) { return handed; });
  const std::vector<v1::Event> events = state_.Events();
  EXPECT_THAT(Durability(events), ElementsAre(Pair(1, true), Pair(3, true), Pair(4, true)));
  EXPECT_EQ(events[2].gap_reason(), v1::GAP_REASON_NOT_WRITTEN);
  EXPECT_EQ(events[2].missing().first(), 2u);
  EXPECT_EQ(events[2].missing().last(), 2u);
}

TEST(EventLog, AJournalThatCannotBeUsedIsMovedAsideAtTheStart) {
  const auto overwrite = [](const std::string& path) {
    GarbleDatabase(path);
    for (const char* suffix : {"-wal", "-shm"}) std::filesystem::remove(path + suffix);
  };
  const auto age = [](const std::string& path) {
    ASSERT_TRUE(ExecuteSql(path, "PRAGMA user_version = 77").ok());
  };
  const std::pair<std::function<void(const std::string&)>, const char*> cases[] = {
      {overwrite, "was damaged and was moved to"},
      {age, "was of another version and was moved to"}};
  for (const auto& [spoil, why] : cases) {
    PumpedState state;
    state.PushEach("a", 3);
    spoil(state.journal_options().path);
    state.Restart(/*in_order=*/false);
    EXPECT_NE(state.log().identity().journal_id, kJournal);
    const std::vector<v1::Event> events = state.Events(state.log().range().oldest);
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].gap_reason(), v1::GAP_REASON_JOURNAL_REPLACED);
    EXPECT_THAT(events[0].message(), HasSubstr(why));
    EXPECT_FALSE(state.log().previous().runs_are_known);
  }
}

// A read error that passes looks to SQLite as damage.
TEST(EventLog, DamageThatACheckDoesNotConfirmLosesNothing) {
  FaultyDisk disk;
  PumpedState state;
  state.PushEach("a", 1);
  disk.Fail(SQLITE_CORRUPT);
  state.Push({Reset()});
  EXPECT_FALSE(state.reported_writable());
  EXPECT_THAT(Durability(state.Events(2)), ElementsAre(Pair(2, false)));
  disk.Fail(SQLITE_OK);
  state.clock().Advance(absl::Hours(1));
  state.Push({Reset()});
  EXPECT_TRUE(state.reported_writable());
  EXPECT_THAT(Durability(state.Events()), ElementsAre(Pair(1, true), Pair(2, true), Pair(3, true)));
  EXPECT_EQ(JournalEvents(state.reader(), 1, 3)->size(), 3u);
  EXPECT_FALSE(std::filesystem::exists(state.journal_options().path + ".damaged"));
  state.Restart(/*in_order=*/false);
  EXPECT_EQ(state.log().identity().journal_id, kJournal);
}

TEST(EventLog, DamageThatIsFoundWhileRunningIsReplacedByTheNextStart) {
  FaultyDisk disk;
  PumpedState state;
  state.PushEach("a", 1);
  GarbleDatabase(state.journal_options().path);
  disk.Fail(SQLITE_CORRUPT);
  state.Push({Reset()});
  EXPECT_FALSE(state.reported_writable());
  disk.Fail(SQLITE_OK);
  state.clock().Advance(absl::Hours(1));
  state.Push({Reset()});
  EXPECT_THAT(Durability(state.Events(2)), ElementsAre(Pair(2, false), Pair(3, false)));
  state.Restart(/*in_order=*/false);
  EXPECT_NE(state.log().identity().journal_id, kJournal);
  EXPECT_TRUE(state.reported_writable());
}

// A reason is for people: what it begins with decides nothing.
TEST(EventLog, TheTextOfADamageReportDecidesNothing) {
  PumpedState state;
  state.PushEach("a", 1);
  ReportDamage(state.journal_options().path, absl::DataLossError("replace\nit"),
               /*is_connected=*/false);
  state.Restart(/*in_order=*/false);
  EXPECT_EQ(state.log().identity().journal_id, kJournal);
}

// Reads were garbled for a while, also those of the check.
TEST(EventLog, DamageThatTheNextStartDoesNotFindIsIgnored) {
  FaultyDisk disk;
  PumpedState state;
  state.PushEach("a", 1);
  disk.Fail(SQLITE_CORRUPT);
  disk.FailReads(SQLITE_CORRUPT);
  state.Push({Reset()});
  const std::string report = state.journal_options().path + ".damaged";
  ASSERT_TRUE(std::filesystem::exists(report));
  disk.Fail(SQLITE_OK);
  disk.FailReads(SQLITE_OK);
  state.Restart(/*in_order=*/false);
  EXPECT_EQ(state.log().identity().journal_id, kJournal);
  EXPECT_FALSE(std::filesystem::exists(report));
  EXPECT_TRUE(state.reported_writable());
  const std::vector<v1::Event> events = state.Events();
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].vm().name(), "a");
  EXPECT_EQ(events[1].gap_reason(), v1::GAP_REASON_NOT_WRITTEN);
  EXPECT_EQ(events[1].missing().first(), 2u);
}

// The file may be undamaged, but must not be written in any case.
TEST(EventLog, AnEmptyReportOrOneThatDemandsReplacementNeedsNoCheck) {
  for (const bool replace : {true, false}) {
    PumpedState state;
    state.PushEach("a", 1);
    const std::string journal = state.journal_options().path;
    if (replace) {
      ReportDamage(journal, WithoutCheck(absl::DataLossError("the file was removed")),
                   /*is_connected=*/true);
    } else {
      const std::ofstream empty(journal + ".damaged");  // the disk was full
    }
    state.Restart(/*in_order=*/false);
    EXPECT_NE(state.log().identity().journal_id, kJournal) << replace;
    EXPECT_FALSE(std::filesystem::exists(state.journal_options().path + ".damaged"));
  }
}

// The file passes a check without the events that only the -wal had.
TEST(EventLog, DamageOfAFileWhoseLogIsGoneNeedsNoCheck) {
  PumpedState state;
  state.PushEach("a", 1);
  const std::string path = state.journal_options().path;
  ASSERT_TRUE(ExecuteSql(path, "PRAGMA wal_checkpoint(TRUNCATE)").ok());
  std::filesystem::remove(path + "-wal");
  ReportDamage(path, absl::DataLossError("database disk image is malformed"),
               /*is_connected=*/true);
  state.Restart(/*in_order=*/false);
  EXPECT_NE(state.log().identity().journal_id, kJournal);
}

TEST(EventLog, AJournalWhoseDamageCannotBeCheckedIsNotReplaced) {
  FaultyDisk disk;
  PumpedState state;
  state.PushEach("a", 1);
  ReportDamage(state.journal_options().path,
               absl::DataLossError("database disk image is malformed"),
               /*is_connected=*/true);
  disk.FailReads(SQLITE_IOERR_READ);
  state.Restart(/*in_order=*/false);
  EXPECT_FALSE(state.reported_writable());
  disk.FailReads(SQLITE_OK);
  state.clock().Advance(absl::Seconds(1));
  state.Write();
  EXPECT_TRUE(state.reported_writable());
  EXPECT_EQ(state.log().identity().journal_id, kJournal);
  EXPECT_EQ(state.Events().front().vm().name(), "a");
}

TEST(EventLog, AnotherProgramsDatabaseIsLeftAlone) {
  const TemporaryDirectory directory;
  const std::string path = directory / "journal.db";
  ASSERT_TRUE(ExecuteSql(path, "CREATE TABLE mine(x)").ok());
  ManualClock clock;
  EXPECT_TRUE(
      absl::IsFailedPrecondition(EventLog::Open({.journal = {.path = path}}, &clock).status()));
}

TEST(EventLog, ACopyOfTheFilesIsAnotherJournalWithTheSameEvents) {
  PumpedState state;
  state.PushEach("a", 2);
  const std::string path = state.journal_options().path;
  ASSERT_TRUE(ExecuteSql(path, "PRAGMA wal_checkpoint(TRUNCATE)").ok());
  std::filesystem::copy_file(path, path + ".copy");
  std::filesystem::rename(path + ".copy", path);
  std::filesystem::remove(path + "-wal");
  std::filesystem::remove(path + "-shm");
  state.Restart(/*in_order=*/false);
  EXPECT_NE(state.log().identity().journal_id, kJournal);
  const std::vector<v1::Event> events = state.Events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_THAT(events[2].message(), HasSubstr("restored from a copy"));
  EXPECT_FALSE(state.log().previous().runs_are_known);
}

// The next start cannot open the journal until it is repaired.
void Break(const PumpedState& state) {
  const std::string path = state.journal_options().path;
  std::filesystem::rename(path, path + ".away");
  std::filesystem::create_directory(path);
}
void Repair(PumpedState* state) {
  const std::string path = state->journal_options().path;
  std::filesystem::remove(path);
  if (std::filesystem::exists(path + ".away")) std::filesystem::rename(path + ".away", path);
  state->clock().Advance(absl::Seconds(1));
  state->Write();
}

// Expects that the newest event is a durable GAP that names all events before it.
void ExpectThatTheNewestNamesAllBefore(PumpedState* state) {
  const uint64_t newest = state->log().range().newest;
  const std::vector<v1::Event> events = state->Events(newest);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].missing().first(), 1u);
  EXPECT_EQ(events[0].missing().last(), newest - 1);
  EXPECT_EQ(state->log().range().durable, newest);
}

TEST(UnopenedJournal, EventsArePublicAndWaitUntilItCanBeOpened) {
  PumpedState state;
  state.PushEach("a", 1);
  Break(state);
  state.Restart(/*in_order=*/false);
  EXPECT_FALSE(state.log().state().journal_writable);
  EXPECT_EQ(state.log().identity().journal_id, kJournal);
  EXPECT_TRUE(absl::IsUnavailable(state.log().Begin(AfterSequence{1, kJournal}).status()));
  EXPECT_TRUE(absl::IsUnavailable(state.log().Begin(AfterSequence{7, "another"}).status()));
  EXPECT_TRUE(absl::IsUnavailable(state.log().Begin(Since{absl::InfinitePast()}).status()));
  EXPECT_TRUE(state.log().Begin(FromSnapshot{}).ok());
  state.PushUnwritten({Reset()});
  const uint64_t given = state.log().range().newest;
  EXPECT_GT(given, 100'000u) << "behind all that the daemon before may have given";
  EXPECT_EQ(state.log().range().durable, 0u);
  Repair(&state);
  EXPECT_TRUE(state.log().state().journal_writable);
  EXPECT_EQ(state.log().range().newest, given + 1) << "a GAP";
  EXPECT_EQ(state.log().range().durable, given + 1);
  EXPECT_TRUE(state.log().Begin(AfterSequence{1, kJournal}).ok());
  EXPECT_TRUE(state.log().Begin(Since{absl::InfinitePast()}).ok());
}

// Leaves an open run in a journal that then cannot be opened.
void LeaveOpenRun(PumpedState* state) {
  VmUpdate started = Update("a", EventType::kStarted);
  started.saved_run = "state";
  state->Push({started});
  Break(*state);
}

TEST(UnopenedJournal, TheLogDoesNotOpenIfTheUsedSequencesAreUnreadable) {
  FaultyDisk disk;
  const TemporaryDirectory directory;
  const std::string path = directory / "journal.db";
  ManualClock clock;
  ASSERT_TRUE(Journal::Open({.path = path}, At(0)).ok());
  std::filesystem::create_directory(directory / "sequence");
  disk.FailReads(SQLITE_IOERR_READ);
  EXPECT_TRUE(absl::IsUnavailable(EventLog::Open({.journal = {.path = path}}, &clock).status()));
}

TEST(UnopenedJournal, AGapReportsThatItsOpenRunsWereNotFollowed) {
  PumpedState state;
  LeaveOpenRun(&state);
  state.Restart(/*in_order=*/true);
  EXPECT_FALSE(state.log().previous().runs_are_known);
  Repair(&state);
  const std::vector<v1::Event> events = state.Events(2);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].gap_reason(), v1::GAP_REASON_JOURNAL_LATE);
  EXPECT_THAT(events[0].message(), HasSubstr("have no STOPPED"));
}

TEST(UnopenedJournal, NoGapIsWrittenIfItsOpenRunsWereHandedOver) {
  PumpedState state;
  LeaveOpenRun(&state);
  state.Restart(/*in_order=*/true, [](const JournalEnd& found) {
    EXPECT_EQ(found.newest, UINT64_MAX) << "what its file has is not known";
    return HandedLog{.journal_id = kJournal, .end = {"", 0, 1}, .runs = {{"run-a", {"state"}}}};
  });
  EXPECT_TRUE(state.log().previous().runs_are_known);
  EXPECT_THAT(state.log().TakeRuns(), SizeIs(1));
  Repair(&state);
  EXPECT_THAT(state.Events(2), SizeIs(0));
}

// A daemon that is killed next has them.
TEST(UnopenedJournal, HandedOverRunsStaySavedOnceItCanBeOpened) {
  PumpedState state;
  LeaveOpenRun(&state);
  state.Restart(/*in_order=*/true, [](const JournalEnd&) {
    return HandedLog{.journal_id = kJournal, .end = {"", 0, 1}, .runs = {{"run-a", {"state"}}}};
  });
  Repair(&state);
  state.Restart(/*in_order=*/false);
  EXPECT_THAT(state.log().TakeRuns(), SizeIs(1));
}

TEST(UnopenedJournal, AHandoverByADaemonThatCouldNotReadItStillLeadsToAGap) {
  PumpedState state;
  LeaveOpenRun(&state);
  state.Restart(/*in_order=*/false);
  HandedLog handed = state.log().HandOver();
  EXPECT_FALSE(handed.knows_runs);
  state.Restart(/*in_order=*/false, [&](const JournalEnd&) { return handed; });
  EXPECT_FALSE(state.log().previous().runs_are_known);
  EXPECT_FALSE(state.log().HandOver().knows_runs);
  Repair(&state);
  const std::vector<v1::Event> events = state.Events(state.log().range().oldest);
  EXPECT_TRUE(std::any_of(events.begin(), events.end(), [](const v1::Event& event) {
    return event.gap_reason() == v1::GAP_REASON_JOURNAL_LATE;
  }));
}

TEST(UnopenedJournal, TakesWhatWasHandedOverWhenItCanBeOpened) {
  PumpedState state;
  LeaveOpenRun(&state);
  state.PushUnwritten({Reset()});
  state.clock().Advance(PublicationQueue::kPatience);
  state.PushUnwritten({});
  HandedLog handed = state.log().HandOver();
  state.Restart(/*in_order=*/false, [&](const JournalEnd&) { return handed; });
  EXPECT_THAT(Durability(state.Events(2)), ElementsAre(Pair(2, false)));
  EXPECT_EQ(state.log().range().oldest, 2u);
  EXPECT_EQ(state.log().Begin(AfterSequence{1, kJournal}).value().cursor, 1u);
  EXPECT_TRUE(absl::IsUnavailable(state.log().Begin(AfterSequence{0, kJournal}).status()));
  Repair(&state);
  EXPECT_THAT(Durability(state.Events()), ElementsAre(Pair(1, true), Pair(2, true)));
}

TEST(UnopenedJournal, AGapNamesAllEventsIfTheFileIsGoneWhenItCanBeOpened) {
  PumpedState state;
  state.PushEach("a", 1);
  Break(state);
  state.Restart(/*in_order=*/false);
  for (const char* suffix : {".away", "-wal", "-shm"}) {
    std::filesystem::remove(state.journal_options().path + suffix);
  }
  Repair(&state);
  ExpectThatTheNewestNamesAllBefore(&state);
}

TEST(UnopenedJournal, MissingSequencesThatNoGapNamesAreReportedWhenItCanBeOpened) {
  PumpedState state(EventLogOptions{.max_waiting_bytes = 400});  // less than two events
  for (int i = 0; i < 3; ++i) {
    state.PushUnwritten({Reset()});
    state.clock().Advance(Backlog::kMaxCommit);
  }
  while (state.log().StepWriter()) {  // writes the third, and no GAP
  }
  ASSERT_EQ(state.log().meters().lost_events.value(), 2u);
  Break(state);
  state.Restart(/*in_order=*/false);
  Repair(&state);
  ExpectThatTheNewestNamesAllBefore(&state);
}

}  // namespace
}  // namespace vmeventd
