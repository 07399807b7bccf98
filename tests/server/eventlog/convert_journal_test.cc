// Journals of schema version 1, which had a row an event, become ones of this version.

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/eventlog/journal_reader.h"
#include "server/eventlog/open_journal.h"
#include "server/eventlog/schema.h"
#include "server/events/event_codec.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kId[] = "00000000-0000-4c00-8000-000000000001";
const std::string kKey(32, 'k');

// As version 0.1.0 made them.
constexpr char kTables[] = R"sql(
  PRAGMA journal_mode = WAL;
  CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE events(
    sequence INTEGER PRIMARY KEY, observe_time INTEGER NOT NULL, vm_name TEXT NOT NULL,
    run_id TEXT NOT NULL, type INTEGER NOT NULL, class INTEGER NOT NULL, payload BLOB NOT NULL,
    checksum INTEGER NOT NULL, latest_time INTEGER);
  CREATE INDEX events_by_vm ON events(vm_name);
  CREATE INDEX clock_steps ON events(sequence) WHERE latest_time IS NOT NULL;
  CREATE TABLE sessions(
    run_id TEXT PRIMARY KEY, payload BLOB NOT NULL, last_sequence INTEGER NOT NULL,
    checksum INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE holes(first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
  CREATE TABLE stops(sequence INTEGER PRIMARY KEY, vm BLOB NOT NULL, checksum INTEGER NOT NULL);
  PRAGMA user_version = 1; PRAGMA application_id = 1986880886;
  INSERT INTO holes VALUES(11, 20);
)sql";

class ConvertJournalTest : public ::testing::Test {
 protected:
  ConvertJournalTest() { options_.path = directory_ / "journal.db"; }

  // Events 3 to 10, and 21 to 30, a minute apart, whose times begin anew at 21.
  void MakeOld() {
    auto database = SqliteDatabase::Open(options_.path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    ASSERT_TRUE(database.ok()) << database.status();
    ASSERT_TRUE(database->Execute(kTables).ok());
    ASSERT_TRUE(PutMeta(&*database, "journal_id", kId).ok());
    ASSERT_TRUE(PutMeta(&*database, "token_key", kKey).ok());
    ASSERT_TRUE(
        PutMeta(&*database, "deleted_until", absl::StrCat(absl::ToUnixNanos(At(-60)))).ok());
    for (uint64_t sequence = 3; sequence <= 30; sequence = sequence == 10 ? 21 : sequence + 1) {
      const std::string payload = PayloadOf(sequence);
      const int64_t time = absl::ToUnixNanos(TimeOf(sequence));
      constexpr int kType = v1::EVENT_TYPE_STOPPED;
      constexpr int kClass = v1::SHUTDOWN_CLASS_CRASH;
      SqliteQuery insert(&*database, "INSERT INTO events VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)");
      insert.Bind(sequence).Bind(time).BindText("web1").BindText("run-1").Bind(kType).Bind(kClass);
      insert.BindBlob(payload).Bind(RowChecksum()
                                        .Add(sequence)
                                        .Add(static_cast<uint64_t>(time))
                                        .Add("web1")
                                        .Add("run-1")
                                        .Add(kType)
                                        .Add(kClass)
                                        .Add(payload)
                                        .value());
      if (sequence > 20 && TimeOf(sequence) < TimeOf(10)) {
        insert.Bind(absl::ToUnixNanos(TimeOf(10)));
      }
      ASSERT_TRUE(insert.Run().ok());
    }
    ASSERT_TRUE(PutRun(&*database, {SharedText("run-2"), "evidence", 29}).ok());
    const JournalStop stopped = {28, "vm"};
    ASSERT_TRUE(SqliteQuery(&*database, "INSERT INTO stops VALUES(?, ?, ?)")
                    .Bind(28)
                    .BindBlob(stopped.vm)
                    .Bind(Checksum(stopped))
                    .Run()
                    .ok());
  }
  static absl::Time TimeOf(uint64_t sequence) {
    return At(60 * static_cast<int64_t>(sequence < 20 ? sequence : sequence - 20));
  }
  static std::string PayloadOf(uint64_t sequence) {
    v1::Event event;
    event.set_sequence(sequence);
    event.mutable_vm()->set_name("web1");
    event.set_message(std::string(sequence == 25 ? 70'000 : 100, 'x'));  // a block by itself
    std::string payload;
    AppendEventField(event, &payload);
    return payload;
  }

  void ExpectConverted(const absl::StatusOr<OpenedJournal>& opened) const {
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(opened->moved_because, "");
    EXPECT_EQ(opened->restored_because, "");
    const Journal& journal = *opened->journal;
    EXPECT_EQ(journal.journal_id(), kId);
    EXPECT_EQ(journal.token_key(), kKey);
    EXPECT_EQ(journal.oldest(), 3u);
    EXPECT_EQ(journal.newest(), 30u);
    EXPECT_EQ(journal.oldest_time(), TimeOf(3));
    EXPECT_EQ(journal.latest_time(), TimeOf(10));
    EXPECT_EQ(journal.deleted_until(), At(-60));
    ASSERT_THAT(opened->runs, SizeIs(1));
    EXPECT_EQ(opened->runs[0].payload, "evidence");
    ASSERT_THAT(opened->stops, SizeIs(1));
    EXPECT_EQ(opened->stops[0].vm, "vm");
    const auto reader = JournalReader::Open(options_.path);
    ASSERT_TRUE(reader.ok()) << reader.status();
    const auto page = (*reader)->ReadFrom(3, 30, 1 << 20);
    ASSERT_TRUE(page.ok()) << page.status();
    uint64_t sequence = 3;
    for (const EventBlockPtr& block : page->blocks) {
      for (size_t i = 0; i < block->size(); ++i) {
        EXPECT_EQ(block->at(i).sequence, sequence);
        EXPECT_EQ(block->at(i).observe_time, TimeOf(sequence));
        EXPECT_EQ(block->at(i).shutdown_class, v1::SHUTDOWN_CLASS_CRASH);
        EXPECT_EQ(block->EncodedView(i), PayloadOf(sequence));
        sequence = sequence == 10 ? 21 : sequence + 1;
      }
    }
    EXPECT_EQ(sequence, 31u);
    EXPECT_EQ(*(*reader)->FirstSince(TimeOf(9)), 9u);
    EXPECT_TRUE(absl::IsOutOfRange((*reader)->ReadFrom(2, 30, 1 << 20).status()));
    for (const char* left : {".new", ".new-wal", ".new-shm", ".new-journal"}) {
      EXPECT_FALSE(std::filesystem::exists(options_.path + left)) << left;
    }
  }

  const TemporaryDirectory directory_;
  JournalOptions options_;
};

TEST_F(ConvertJournalTest, ItIsTheSameJournalAfterwards) {
  MakeOld();
  for (int start = 0; start < 2; ++start) ExpectConverted(OpenJournal(options_, At(0)));
}

TEST_F(ConvertJournalTest, AFailureOfTheDiskAtAnyStepLeavesTheOldOneOrTheNewOne) {
  for (const int error : {SQLITE_IOERR_WRITE, SQLITE_FULL}) {
    FaultyDisk disk;
    int failures = 0;
    for (bool failed = true; failed; ++failures) {
      ASSERT_LT(failures, 500);
      for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
        std::filesystem::remove(entry.path());
      }
      MakeOld();
      disk.Fail(error, failures);
      {
        const absl::StatusOr<OpenedJournal> opened = OpenJournal(options_, At(0));
        failed = !opened.ok();
        if (failed) {
          EXPECT_TRUE(absl::IsUnavailable(opened.status())) << opened.status();
        }
      }
      disk.Fail(SQLITE_OK);
      ExpectConverted(OpenJournal(options_, At(0)));
    }
    EXPECT_GT(failures, 10);
  }
}

TEST_F(ConvertJournalTest, ADiskThatIsFullIsNamedWithWhatItTakes) {
  MakeOld();
  FaultyDisk disk;
  disk.Fail(SQLITE_FULL);
  EXPECT_THAT(OpenJournal(options_, At(0)),
              FailsAs(absl::IsUnavailable, "full; to convert the journal takes up to 1 MiB"));
}

TEST_F(ConvertJournalTest, WhatWasBegunAndNotCompleteIsForgotten) {
  MakeOld();
  std::ofstream(options_.path + ".new") << "half of it";
  ExpectConverted(OpenJournal(options_, At(0)));
}

TEST_F(ConvertJournalTest, ADamagedOneIsMovedAsideWithItsRunsKept) {
  MakeOld();
  ASSERT_TRUE(ExecuteSql(options_.path, "UPDATE events SET class = 1 WHERE sequence = 22").ok());
  const auto opened = OpenJournal(options_, At(0));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_THAT(opened->moved_because, HasSubstr("checksum of event 22"));
  EXPECT_TRUE(std::filesystem::exists(opened->moved_to));
  ASSERT_THAT(opened->runs, SizeIs(1));
  EXPECT_EQ(opened->runs[0].payload, "evidence");
}

TEST_F(ConvertJournalTest, AMissingTableIsDamage) {
  MakeOld();
  ASSERT_TRUE(ExecuteSql(options_.path, "DROP TABLE holes").ok());
  const auto opened = OpenJournal(options_, At(0));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_THAT(opened->moved_because, Not(IsEmpty()));
}

TEST_F(ConvertJournalTest, OneThatAnotherProgramReadsWaits) {
  MakeOld();
  {
    auto other = SqliteDatabase::Open(options_.path, SQLITE_OPEN_READWRITE);
    SqliteQuery reading(&*other, "SELECT sequence FROM events");
    ASSERT_TRUE(reading.Next());
    auto later = SqliteDatabase::Open(options_.path, SQLITE_OPEN_READWRITE);
    ASSERT_TRUE(PutMeta(&*later, "x", "in the log, behind what is read").ok());
    EXPECT_THAT(OpenJournal(options_, At(0)),
                FailsAs(absl::IsUnavailable, "journal.db: another program has it open"));
  }
  ExpectConverted(OpenJournal(options_, At(0)));
}

TEST_F(ConvertJournalTest, OneThatWasRestoredFromACopyIsFoundToBeOne) {
  MakeOld();
  {
    auto database = SqliteDatabase::Open(options_.path, SQLITE_OPEN_READWRITE);
    ASSERT_TRUE(PutMeta(&*database, "file", "1 1").ok());
  }
  const auto opened = OpenJournal(options_, At(0));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_THAT(opened->restored_because, HasSubstr("made again"));
  EXPECT_NE(opened->journal->journal_id(), kId);
  EXPECT_EQ(opened->journal->newest(), 30u);
}

}  // namespace
}  // namespace vmeventd
