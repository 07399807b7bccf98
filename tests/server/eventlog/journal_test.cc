#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/eventlog/journal_reader.h"
#include "server/eventlog/open_journal.h"
#include "server/eventlog/schema.h"
#include "server/eventlog/unreadable.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/files.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

const absl::Time kNow = absl::FromUnixSeconds(1795157000);

class JournalTest : public ::testing::Test {
 protected:
  JournalTest() { options_.path = directory_ / "journal.db"; }

  OpenedJournal Open() {
    absl::StatusOr<OpenedJournal> opened = OpenJournal(options_, kNow);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? *std::move(opened) : OpenedJournal{};
  }

  // Appends events [first, first + count), a minute apart, with "payload N" in each.
  void Fill(Journal* journal, uint64_t first, int count, absl::Time start = kNow) {
    ASSERT_TRUE(Append(journal, first, count, start).ok());
  }
  static absl::Status Append(Journal* journal, uint64_t first, int count, absl::Time start = kNow) {
    EventBlockBuilder events;
    for (int i = 0; i < count; ++i) {
      events.AddEncoded({.sequence = first + i,
                         .type = v1::EVENT_TYPE_STOPPED,
                         .shutdown_class = v1::SHUTDOWN_CLASS_USER,
                         .observe_time = start + absl::Minutes(i)},
                        absl::StrCat("web1 payload ", first + i));
    }
    return journal->Append({{events.Finish()}, {}, {}}, kNow);
  }
  OpenedJournal OpenAndFill(uint64_t first, int count, absl::Time start = kNow) {
    OpenedJournal opened = Open();
    Fill(opened.journal.get(), first, count, start);
    return opened;
  }
  // A journal with so many events, from 1 on, which is closed again. Returns its id.
  std::string Make(int count) { return OpenAndFill(1, count).journal->journal_id(); }
  static void Save(Journal* journal, std::vector<SavedRun> runs) {
    ASSERT_TRUE(journal->Append({{}, std::move(runs), {}}, kNow).ok());
  }

  absl::StatusOr<std::vector<std::string>> Read(uint64_t from, uint64_t last,
                                                size_t max_bytes = 1 << 20) {
    absl::StatusOr<std::unique_ptr<JournalReader>> reader = JournalReader::Open(options_.path);
    if (!reader.ok()) return reader.status();
    auto page = (*reader)->ReadFrom(from, last, max_bytes);
    if (!page.ok()) return page.status();
    std::vector<std::string> payloads;
    for (const EventBlockPtr& block : page->blocks) {
      for (size_t i = 0; i < block->size(); ++i) {
        const grpc::Slice bytes = block->Encoded(i, i + 1);
        payloads.emplace_back(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
        EXPECT_EQ(block->at(i).shutdown_class, 1);
        EXPECT_EQ(block->at(i).sequence, block->first_sequence() + i);
      }
    }
    return payloads;
  }

  // Place of a stored text in the file.
  int64_t PlaceOf(const std::string& text) const {
    const size_t at = e2e::ReadFile(options_.path).find(text);
    EXPECT_NE(at, std::string::npos);
    return static_cast<int64_t>(at);
  }

  // Changes one character of a stored text, wherever it stands in the file.
  void FlipIn(const std::string& text) {
    std::fstream file(options_.path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(PlaceOf(text));
    file.put(static_cast<char>(text[0] ^ 1));
  }

  const TemporaryDirectory directory_;
  JournalOptions options_;
};

TEST_F(JournalTest, ANewOneIsEmptyAndHasAnId) {
  const OpenedJournal opened = Open();
  EXPECT_EQ(opened.journal->newest(), 0u);
  EXPECT_EQ(opened.journal->oldest(), 1u);
  EXPECT_THAT(opened.journal->journal_id(), SizeIs(36));
  EXPECT_THAT(opened.journal->token_key(), SizeIs(32));
  EXPECT_THAT(opened.moved_to, IsEmpty());
}

TEST_F(JournalTest, IsNotReadableByOthers) {
  Open();
  struct stat status;
  ASSERT_EQ(stat(options_.path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0007, 0u);
}

TEST_F(JournalTest, KeepsEventsAndItsIdAcrossARestart) {
  std::string id;
  std::string key;
  {
    const OpenedJournal opened = Open();
    id = opened.journal->journal_id();
    key = opened.journal->token_key();
    Fill(opened.journal.get(), 1, 3);
  }
  const OpenedJournal again = Open();
  EXPECT_EQ(again.journal->journal_id(), id);
  EXPECT_EQ(again.journal->token_key(), key);
  EXPECT_EQ(again.journal->newest(), 3u);
  EXPECT_EQ(again.journal->oldest(), 1u);
  EXPECT_THAT(*Read(1, 3), ElementsAre("web1 payload 1", "web1 payload 2", "web1 payload 3"));
  EXPECT_THAT(*Read(2, 2), ElementsAre("web1 payload 2"));
}

TEST_F(JournalTest, ReadsBesideTheWriterInPages) {
  const OpenedJournal opened = OpenAndFill(1, 1000);
  EXPECT_THAT(*Read(1, 1000, 1), SizeIs(1)) << "one event at the least";
  EXPECT_THAT(*Read(1, 1000), SizeIs(1000));
  EXPECT_THAT(*Read(1001, 2000), IsEmpty());
}

TEST_F(JournalTest, SessionsAreWrittenWithTheirEventsAndGoWithThem) {
  {
    const OpenedJournal opened = Open();
    Save(opened.journal.get(), {{SharedText("run-1"), "one"}, {SharedText("run-2"), "two"}});
    Save(opened.journal.get(), {{SharedText("run-1"), "one more"}, {SharedText("run-2"), ""}});
  }
  const OpenedJournal again = Open();
  ASSERT_THAT(again.runs, SizeIs(1));
  EXPECT_EQ(again.runs[0].run_id, "run-1");
  EXPECT_EQ(again.runs[0].payload, "one more");
}

TEST_F(JournalTest, ABatchIsWrittenAsAWholeOrNotAtAll) {
  const OpenedJournal opened = OpenAndFill(1, 1);
  EventBlockBuilder events;
  Journal::Batch batch;
  for (const uint64_t sequence : {2, 1}) {  // the second is taken already
    events.AddEncoded({.sequence = sequence, .observe_time = kNow}, "new");
    batch.blocks.push_back(events.Finish());
  }
  EXPECT_FALSE(opened.journal->Append(batch, kNow).ok());
  EXPECT_EQ(opened.journal->newest(), 1u);
  EXPECT_THAT(*Read(1, 10), SizeIs(1));
  Fill(opened.journal.get(), 2, 1);
  EXPECT_EQ(opened.journal->newest(), 2u);
}

TEST_F(JournalTest, RetentionByCountGoesInSmallStepsAndKeepsTheNewest) {
  Make(2000);
  options_.retention_events = 100;
  const OpenedJournal opened = Open();
  int steps = 1;
  while (*opened.journal->RetainStep(kNow)) ++steps;
  EXPECT_GT(steps, 2);
  EXPECT_EQ(opened.journal->oldest(), 1901u);
  EXPECT_EQ(opened.journal->newest(), 2000u);
  EXPECT_EQ(opened.journal->deleted_until(), kNow + absl::Minutes(1899));
  EXPECT_THAT(*Read(1901, 2000), SizeIs(100));
  EXPECT_TRUE(absl::IsOutOfRange(Read(1900, 2000).status()));
}

TEST_F(JournalTest, AnAppendLeavesAHundredthBeyondTheLimitToIdleSteps) {
  options_.retention_events = 1000;
  const OpenedJournal opened = OpenAndFill(1, 1000);
  EXPECT_EQ(opened.journal->excess(), 0);
  EXPECT_EQ(opened.journal->slack(), 10);
  Fill(opened.journal.get(), 1001, 10);
  EXPECT_EQ(opened.journal->excess(), 10);
  EXPECT_EQ(opened.journal->oldest(), 1u);
  Fill(opened.journal.get(), 1011, 1);
  EXPECT_EQ(opened.journal->oldest(), 3u) << "twice as much as it wrote";
  EXPECT_FALSE(*opened.journal->RetainStep(kNow));
  EXPECT_EQ(opened.journal->oldest(), 12u);
  EXPECT_EQ(opened.journal->excess(), 0);
}

TEST_F(JournalTest, AnAppendDeletesNothingForItsAge) {
  options_.retention_age = absl::Hours(1);
  const OpenedJournal opened = OpenAndFill(1, 10);
  Fill(opened.journal.get(), 11, 1, kNow + absl::Hours(24));
  EXPECT_EQ(opened.journal->oldest(), 1u);
  EXPECT_FALSE(*opened.journal->RetainStep(kNow + absl::Hours(24)));
  EXPECT_EQ(opened.journal->oldest(), 11u);
}

TEST_F(JournalTest, RetentionByAgeNeverDeletesTheNewest) {
  options_.retention_age = absl::Hours(1);
  {
    const OpenedJournal opened = OpenAndFill(1, 10);
    EXPECT_FALSE(*opened.journal->RetainStep(kNow + absl::Minutes(30)));
    EXPECT_EQ(opened.journal->oldest(), 1u);
    EXPECT_FALSE(*opened.journal->RetainStep(kNow + absl::Minutes(65)));
    EXPECT_EQ(opened.journal->oldest(), 6u);
    EXPECT_FALSE(*opened.journal->RetainStep(kNow + absl::Hours(1000)));
    EXPECT_EQ(opened.journal->oldest(), 10u);
  }
  const OpenedJournal again = Open();
  EXPECT_EQ(again.journal->newest(), 10u) << "sequences go on where they were";
  EXPECT_EQ(again.journal->deleted_until(), kNow + absl::Minutes(8));
}

TEST_F(JournalTest, AnEventOfAClockThatWasAheadGoesWithWhatFollowsIt) {
  options_.retention_age = absl::Hours(1);
  const OpenedJournal opened = OpenAndFill(1, 700, kNow + absl::Hours(24 * 365));
  Fill(opened.journal.get(), 701, 10);  // minutes 0 to 9
  EXPECT_FALSE(*opened.journal->RetainStep(kNow + absl::Minutes(30)));
  EXPECT_EQ(opened.journal->oldest(), 1u) << "what follows them is young";
  while (*opened.journal->RetainStep(kNow + absl::Minutes(65))) {
  }
  EXPECT_EQ(opened.journal->oldest(), 706u);
  EXPECT_EQ(opened.journal->deleted_until(), kNow + absl::Minutes(4));
}

TEST_F(JournalTest, EventsOfAClockThatIsSetBackNowStayWhileNothingFollowsThem) {
  options_.retention_age = absl::Hours(1);
  const OpenedJournal opened = OpenAndFill(1, 10, kNow + absl::Hours(24 * 365));
  EXPECT_FALSE(*opened.journal->RetainStep(kNow));
  EXPECT_EQ(opened.journal->oldest(), 1u);
}

TEST_F(JournalTest, RetentionByCountCountsEventsAndNotSequences) {
  options_.retention_events = 10;
  {
    const OpenedJournal opened = OpenAndFill(1, 5);
    Fill(opened.journal.get(), 1'000'006, 5);
    EXPECT_EQ(opened.journal->oldest(), 1u);
  }
  const OpenedJournal opened = OpenAndFill(1'000'011, 3);
  EXPECT_EQ(opened.journal->oldest(), 4u);
  Fill(opened.journal.get(), 1'000'014, 4);
  EXPECT_EQ(opened.journal->oldest(), 1'000'008u);
  EXPECT_THAT(*Read(1'000'008, 1'000'017), SizeIs(10));
}

TEST_F(JournalTest, ReachesBackOverWhatWasGivenUpBeforeItsOldestEvent) {
  options_.retention_events = 2;
  {
    const OpenedJournal opened = OpenAndFill(3, 1);
    EXPECT_EQ(opened.journal->oldest(), 3u);
    EXPECT_EQ(opened.journal->unbroken_from(), 1u);
    Fill(opened.journal.get(), 4, 1);
    Fill(opened.journal.get(), 11, 2);
    EXPECT_EQ(opened.journal->oldest(), 11u);
    EXPECT_EQ(opened.journal->unbroken_from(), 5u);
  }
  const OpenedJournal opened = Open();
  EXPECT_EQ(opened.journal->unbroken_from(), 5u);
  EXPECT_THAT(*Read(5, 12), SizeIs(2));
  EXPECT_THAT(*Read(7, 9), IsEmpty());
  EXPECT_TRUE(absl::IsOutOfRange(Read(4, 12).status()));
  Fill(opened.journal.get(), 13, 1);
  EXPECT_EQ(opened.journal->oldest(), 12u);
  EXPECT_EQ(opened.journal->unbroken_from(), 12u);
  EXPECT_TRUE(absl::IsOutOfRange(Read(7, 9).status()));
  Fill(opened.journal.get(), 20, 4);
  EXPECT_EQ(opened.journal->oldest(), 22u) << "what was given up does not count";
}

TEST_F(JournalTest, OneThatWasRestoredFromACopyKeepsItsEventsUnderANewId) {
  std::string id;
  {
    const OpenedJournal opened = Open();
    id = opened.journal->journal_id();
    Fill(opened.journal.get(), 1, 5);
    Save(opened.journal.get(), {{SharedText("run-1"), "evidence", 4}});
  }
  const std::filesystem::path copy = directory_ / "copy";
  const std::filesystem::path state = std::filesystem::path(options_.path).parent_path();
  const auto copy_files = [](const std::filesystem::path& from, const std::filesystem::path& to) {
    std::filesystem::create_directories(to);
    for (const auto& entry : std::filesystem::directory_iterator(from)) {
      if (!entry.is_regular_file()) continue;
      std::filesystem::copy(entry.path(), to / entry.path().filename(),
                            std::filesystem::copy_options::overwrite_existing);
    }
  };
  copy_files(state, copy);
  {
    const OpenedJournal opened = Open();
    EXPECT_EQ(opened.journal->journal_id(), id) << "a restart";
    Fill(opened.journal.get(), 6, 5);
  }
  std::vector<std::string> ids = {id};
  for (const bool in_place : {true, false}) {
    if (!in_place) std::filesystem::remove(options_.path);
    copy_files(copy, state);
    const auto again = OpenJournal(options_, kNow, [](const std::string&) { return 10; });
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_THAT(again->restored_because, Not(IsEmpty())) << in_place;
    EXPECT_THAT(again->moved_because, IsEmpty());
    EXPECT_EQ(again->journal->newest(), 5u);
    ASSERT_THAT(again->runs, SizeIs(1));
    EXPECT_THAT(ids, Not(testing::Contains(again->journal->journal_id())));
    ids.push_back(again->journal->journal_id());
    const OpenedJournal restarted = Open();
    EXPECT_THAT(restarted.restored_because, IsEmpty()) << "once";
    EXPECT_EQ(restarted.journal->journal_id(), ids.back());
  }
}

TEST_F(JournalTest, OneOfAnEarlierVersionIsNotTakenForACopy) {
  const std::string id = Make(5);
  ASSERT_TRUE(ExecuteSql(options_.path,
                         "DELETE FROM meta WHERE key IN ('file', 'generations');"
                         "PRAGMA wal_checkpoint(TRUNCATE)")
                  .ok());
  const std::string copy = options_.path + "2";
  std::filesystem::copy(options_.path, copy);
  options_.path = copy;
  for (int i = 0; i < 2; ++i) {
    const OpenedJournal again = Open();
    EXPECT_THAT(again.restored_because, IsEmpty());
    EXPECT_EQ(again.journal->journal_id(), id);
    EXPECT_EQ(again.journal->newest(), 5u);
  }
}

// Rows of the table.
int64_t RowsIn(const std::string& path) {
  auto database = SqliteDatabase::Open(path, SQLITE_OPEN_READONLY);
  return static_cast<int64_t>(
      SqliteQuery(&*database, "SELECT count(*) FROM blocks").Number().value());
}

TEST_F(JournalTest, SmallRowsAreJoinedWhereTheyFillOne) {
  {
    const OpenedJournal opened = Open();
    Journal* const journal = opened.journal.get();
    uint64_t next = 1;
    while (!journal->has_small_rows()) {
      Fill(journal, next, 10);
      next += 10;
    }
    const uint64_t joined = next - 1;
    Fill(journal, next, 10);
    const int64_t rows = RowsIn(options_.path);
    EXPECT_EQ(rows, static_cast<int64_t>(joined / 10) + 1);
    EXPECT_FALSE(*journal->RetainStep(kNow));
    EXPECT_LE(RowsIn(options_.path), 3);
    EXPECT_THAT(*Read(1, next + 9), SizeIs(next + 9));
    EXPECT_THAT(*Read(joined - 1, joined + 2), SizeIs(4)) << "across two rows";
    EXPECT_EQ(journal->newest(), next + 9);

    for (next += 10; !journal->has_small_rows(); next += 10) Fill(journal, next, 10);
    EXPECT_FALSE(*journal->RetainStep(kNow));
    EXPECT_LE(RowsIn(options_.path), 4) << "the next ones are joined as well";
    EXPECT_THAT(*Read(1, next - 1), SizeIs(next - 1));
  }
  const OpenedJournal again = Open();
  const uint64_t newest = again.journal->newest();
  EXPECT_THAT(*Read(1, newest), SizeIs(newest));
  const auto reader = JournalReader::Open(options_.path);
  EXPECT_EQ(*(*reader)->FirstSince(kNow + absl::Minutes(5)), 6u) << "times are as they were";
}

TEST_F(JournalTest, RowsAreNotJoinedOverAHole) {
  const OpenedJournal opened = Open();
  Journal* const journal = opened.journal.get();
  uint64_t next = 1;
  while (!journal->has_small_rows()) {
    Fill(journal, next, 10);
    next += next == 11 ? 20 : 10;
  }
  while (*journal->RetainStep(kNow)) {
  }
  EXPECT_EQ(RowsIn(options_.path), 2 + static_cast<int64_t>((next - 31) / 10) - 1)
      << "the first two are one, the others do not fill one";
  EXPECT_THAT(*Read(1, 40), SizeIs(30));
}

TEST_F(JournalTest, ABlockIsDeletedWithTheLastOfItsEvents) {
  options_.retention_events = 100;
  {
    const OpenedJournal opened = OpenAndFill(1, 90);
    Fill(opened.journal.get(), 91, 10, kNow + absl::Minutes(90));
    Fill(opened.journal.get(), 101, 20, kNow + absl::Minutes(100));
    while (*opened.journal->RetainStep(kNow)) {
    }
    EXPECT_EQ(opened.journal->oldest(), 21u);
    EXPECT_EQ(RowsIn(options_.path), 3);
  }
  const OpenedJournal opened = Open();
  EXPECT_EQ(opened.journal->oldest(), 21u);
  EXPECT_EQ(opened.journal->oldest_time(), kNow + absl::Minutes(20));
  EXPECT_EQ(opened.journal->excess(), 0);
  EXPECT_TRUE(absl::IsOutOfRange(Read(20, 30).status()));
  EXPECT_THAT(*Read(21, 120), SizeIs(100));
  const auto reader = JournalReader::Open(options_.path);
  EXPECT_EQ(*(*reader)->Oldest(), 21u);
  EXPECT_EQ(*(*reader)->FirstSince(kNow + absl::Minutes(3)), 21u);
  EXPECT_EQ((*reader)->ReadSince(absl::InfinitePast(), 1 << 20)->first, 21u);
  EXPECT_TRUE(absl::IsOutOfRange((*reader)->ReadSince(kNow + absl::Minutes(3), 1).status()))
      << "an event since then is deleted, though its block is here";
  Fill(opened.journal.get(), 121, 72, kNow + absl::Minutes(120));
  EXPECT_EQ(opened.journal->oldest(), 93u);
  EXPECT_EQ(RowsIn(options_.path), 3) << "the first block is gone";
}

TEST_F(JournalTest, FindsTimesWhereTheClockWasSetBackAndEventsWereGivenUp) {
  {
    const OpenedJournal opened = Open();
    Fill(opened.journal.get(), 1, 10);                           // minutes 0 to 9
    Fill(opened.journal.get(), 21, 5, kNow + absl::Minutes(4));  // minutes 4 to 8, after a hole
  }
  const OpenedJournal opened = Open();
  Fill(opened.journal.get(), 26, 5, kNow + absl::Minutes(9));  // minutes 9 to 13
  const auto reader = JournalReader::Open(options_.path);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(*(*reader)->FirstSince(kNow - absl::Hours(4)), 1u);
  EXPECT_EQ(*(*reader)->FirstSince(kNow + absl::Minutes(8)), 9u);
  EXPECT_EQ(*(*reader)->FirstSince(kNow + absl::Seconds(9 * 60 + 1)), 27u);
  EXPECT_EQ(*(*reader)->FirstSince(kNow + absl::Minutes(14)), 0u);
  EXPECT_EQ(*(*reader)->LastBefore(kNow + absl::Minutes(5)), 25u) << "some come after the step";
  EXPECT_EQ(*(*reader)->LastBefore(kNow + absl::Minutes(9)), 25u);
  EXPECT_EQ(*(*reader)->LastBefore(kNow + absl::Minutes(12)), 30u) << "as far as the block goes";
  EXPECT_EQ(*(*reader)->LastBefore(kNow + absl::Minutes(99)), 30u);
}

TEST_F(JournalTest, AnEmptyOneHasNoTimes) {
  Open();
  const auto reader = JournalReader::Open(options_.path);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(*(*reader)->FirstSince(kNow), 0u);
  EXPECT_EQ(*(*reader)->LastBefore(kNow), 0u);
}

TEST_F(JournalTest, WhatIsNoDatabaseIsMovedAside) {
  std::ofstream(options_.path) << std::string(5000, 'x');
  const OpenedJournal opened = Open();
  EXPECT_THAT(opened.moved_to, HasSubstr("journal.db.corrupt-20261120T"));
  EXPECT_TRUE(std::filesystem::exists(opened.moved_to));
  Fill(opened.journal.get(), 1, 1);
}

TEST_F(JournalTest, ATruncatedOneIsMovedAside) {
  const std::string id = Make(2000);
  std::filesystem::resize_file(options_.path, std::filesystem::file_size(options_.path) / 2);
  const OpenedJournal again = Open();
  EXPECT_THAT(again.moved_to, Not(IsEmpty()));
  EXPECT_NE(again.journal->journal_id(), id);
}

TEST_F(JournalTest, OneThatLostWhatWasCommittedIsMovedAsideAndItsRunsAreKept) {
  {
    const OpenedJournal opened = OpenAndFill(1, 5);
    Save(opened.journal.get(), {{SharedText("run-1"), "evidence", 4}});
  }
  const auto again = OpenJournal(options_, kNow, [](const std::string&) { return uint64_t{6}; });
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_THAT(again->moved_because, HasSubstr("newest event is 5"));
  EXPECT_EQ(again->journal->newest(), 0u);
  ASSERT_THAT(again->runs, SizeIs(1));
  EXPECT_EQ(again->runs[0].payload, "evidence");
  EXPECT_EQ(again->runs[0].last_sequence, 0u) << "in the new one there is no event 4";
}

// The runs of a corrupt journal are never lost, and the next start says that it was replaced.
class ReplacementTest : public JournalTest {
 protected:
  void MakeCorrupt() {
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      std::filesystem::remove(entry.path());
    }
    const OpenedJournal opened = Open();
    id_ = opened.journal->journal_id();
    Fill(opened.journal.get(), 1, 5);
    Save(opened.journal.get(), {{SharedText("run-1"), "one", 4}, {SharedText("run-2"), "two", 5}});
  }
  // Each start finds that events are missing.
  absl::StatusOr<OpenedJournal> Start() {
    const std::string old = id_;
    return OpenJournal(options_, kNow, [&](const std::string& id) { return id == old ? 6u : 0u; });
  }
  void ExpectReplaced(const absl::StatusOr<OpenedJournal>& opened) const {
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_THAT(opened->moved_because, HasSubstr("newest event is 5"));
    EXPECT_TRUE(std::filesystem::exists(opened->moved_to)) << opened->moved_to;
    ASSERT_THAT(opened->runs, SizeIs(2));
    EXPECT_EQ(opened->runs[1].payload, "two");
    EXPECT_NE(opened->journal->journal_id(), id_);
    for (const char* left : {".new", ".new-wal", ".new-shm"}) {
      EXPECT_FALSE(std::filesystem::exists(options_.path + left));
    }
  }

  std::string id_;
};

TEST_F(ReplacementTest, AFailureOfTheDiskAtAnyStepLeavesTheOldOneOrTheNewOne) {
  FaultyDisk disk;
  int failures = 0;
  for (bool failed = true; failed; ++failures) {
    ASSERT_LT(failures, 500);
    MakeCorrupt();
    disk.Fail(SQLITE_IOERR_WRITE, failures);
    {
      const absl::StatusOr<OpenedJournal> opened = Start();
      failed = !opened.ok();
    }
    disk.Fail(SQLITE_OK);
    ExpectReplaced(Start());
  }
  EXPECT_GT(failures, 10);
}

TEST_F(ReplacementTest, AnOpeningThatFailsOnceLosesNoRun) {
  FaultyDisk disk;
  int failures = 0;
  for (bool failed = true; failed; ++failures) {
    ASSERT_LT(failures, 100);
    MakeCorrupt();
    disk.FailOpen(failures);
    auto opened = Start();
    failed = !opened.ok();
    if (failed) {
      EXPECT_TRUE(absl::IsUnavailable(opened.status())) << opened.status();
      opened = Start();
    }
    ExpectReplaced(opened);
  }
  EXPECT_GE(failures, 3);
}

TEST_F(ReplacementTest, AKillAtAnyStepLeavesTheOldOneOrTheNewOne) {
  // After so many of the moves behind the new one's completion.
  for (int moves = 0; moves <= 4; ++moves) {
    MakeCorrupt();
    const std::string& path = options_.path;
    const std::string aside = NameAside(path, kNow).value();
    const JournalBeginning beginning = {
        .runs = {{SharedText("run-1"), "one"}, {SharedText("run-2"), "two"}},
        .replaces = absl::StrCat(aside, "\nits newest event is 5")};
    ASSERT_TRUE(BuildReplacement(options_, beginning, aside).ok());
    const std::string next = path + ".next-" + aside.substr(path.size() + 1);
    ASSERT_TRUE(std::filesystem::exists(next));
    const std::pair<std::string, std::string> all[] = {{path, aside},
                                                       {path + "-wal", aside + "-wal"},
                                                       {path + "-shm", aside + "-shm"},
                                                       {next, path}};
    for (int i = 0; i < moves; ++i) {
      if (std::filesystem::exists(all[i].first)) {
        std::filesystem::rename(all[i].first, all[i].second);
      }
    }
    ExpectReplaced(Start());
    EXPECT_EQ(NameAside(path, kNow).value(), aside + "-1") << "nothing is under way any more";
  }
}

TEST_F(ReplacementTest, WhatIsBuiltAndNotCompleteIsForgotten) {
  MakeCorrupt();
  std::ofstream(options_.path + ".new") << "half of it";
  ASSERT_THAT(Open().runs, SizeIs(2)) << "the old one is in its place";
  ExpectReplaced(Start());
}

TEST_F(ReplacementTest, AfterItsFirstEventTheNewOneIsAsAnyOther) {
  MakeCorrupt();
  {
    const absl::StatusOr<OpenedJournal> opened = Start();
    ASSERT_TRUE(opened.ok());
    Fill(opened->journal.get(), 1, 1);
  }
  const OpenedJournal again = Open();
  EXPECT_THAT(again.moved_because, IsEmpty());
  EXPECT_THAT(again.moved_to, IsEmpty());
  EXPECT_THAT(again.runs, SizeIs(2));
}

TEST_F(JournalTest, AStopKeepsTheRoomOfTheLogForTheNextStart) {
  const std::string log = options_.path + "-wal";
  uintmax_t size = 0;
  {
    const OpenedJournal opened = OpenAndFill(1, 2000);
    size = std::filesystem::file_size(log);
    EXPECT_GT(size, 50'000u);
  }
  EXPECT_EQ(std::filesystem::file_size(log), size);
  const OpenedJournal again = Open();
  EXPECT_EQ(again.journal->newest(), 2000u);
  Fill(again.journal.get(), 2001, 1);
  EXPECT_EQ(std::filesystem::file_size(log), size) << "it is written over";
  EXPECT_THAT(*Read(1, 2001), SizeIs(2001));
}

// A sector that is lost, under the oldest events.
class LostSectorTest : public JournalTest {
 protected:
  LostSectorTest() { options_.retention_events = 1000; }

  OpenedJournal OpenWithLostSector() {
    Make(1000);
    OpenedJournal opened = Open();
    opened.journal->ReleaseMemory();
    disk_.FailReadsAt(PlaceOf("web1 payload 2"));
    return opened;
  }

  FaultyDisk disk_;
};

TEST_F(LostSectorTest, KeepsNoNewEventFromTheJournal) {
  const OpenedJournal opened = OpenWithLostSector();
  Fill(opened.journal.get(), 1001, 13);
  EXPECT_EQ(opened.journal->newest(), 1013u);
  EXPECT_EQ(opened.journal->oldest(), 1u);
  EXPECT_TRUE(IsReadError(opened.journal->retention_problem()));
  EXPECT_TRUE(IsReadError(opened.journal->RetainStep(kNow).status()));
  Fill(opened.journal.get(), 1014, 1);

  disk_.FailReadsAt(-1);
  EXPECT_TRUE(opened.journal->RetainStep(kNow).ok());
  EXPECT_EQ(opened.journal->oldest(), 15u);
  Fill(opened.journal.get(), 1015, 11);
  EXPECT_EQ(opened.journal->oldest(), 26u) << "an Append deletes again";
}

TEST_F(LostSectorTest, IsNamedByAReplay) {
  const OpenedJournal opened = OpenWithLostSector();
  const absl::Status status = Read(1, 1000).status();
  EXPECT_TRUE(IsReadError(status)) << status;
  EXPECT_EQ(ReadErrorPlace(status), "event 1");
}

TEST_F(LostSectorTest, IsDamageWhereStartsFailOverItForMinutes) {
  OpenWithLostSector();
  for (const absl::Duration after : {absl::ZeroDuration(), absl::Seconds(1), absl::Seconds(119)}) {
    EXPECT_TRUE(absl::IsUnavailable(OpenJournal(options_, kNow + after).status()));
  }
  const auto opened = OpenJournal(options_, kNow + absl::Minutes(2));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_THAT(opened->moved_because, HasSubstr("disk I/O error"));
}

TEST_F(LostSectorTest, ThatCanBeReadAgainIsNoDamage) {
  OpenWithLostSector();
  EXPECT_FALSE(OpenJournal(options_, kNow).ok());
  disk_.FailReadsAt(-1);
  EXPECT_TRUE(OpenJournal(options_, kNow + absl::Seconds(1)).ok());
  const OpenedJournal opened = Open();
  opened.journal->ReleaseMemory();
  disk_.FailReadsAt(PlaceOf("web1 payload 2"));
  EXPECT_FALSE(OpenJournal(options_, kNow + absl::Hours(1)).ok()) << "a count of its own";
}

TEST_F(JournalTest, KeepsTheVmsThatStoppedLast) {
  {
    const OpenedJournal opened = Open();
    Journal::Batch batch;
    for (uint64_t i = 1; i <= 10'005; ++i) batch.stops.push_back({i, absl::StrCat("vm ", i)});
    ASSERT_TRUE(opened.journal->Append(batch, kNow).ok());
    ASSERT_TRUE(opened.journal->Append({{}, {}, {{10'006, "vm 10006"}}}, kNow).ok());
  }
  const OpenedJournal again = Open();
  ASSERT_THAT(again.stops, SizeIs(10'000));
  EXPECT_EQ(again.stops.front().sequence, 7u);
  EXPECT_EQ(again.stops.back().vm, "vm 10006");
}

TEST_F(JournalTest, ADatabaseOfAnotherUserIsRefused) {
  Open();
  if (chown(options_.path.c_str(), 12345, 0) != 0) GTEST_SKIP() << "takes root";
  EXPECT_THAT(OpenJournal(options_, kNow),
              FailsAs(absl::IsFailedPrecondition, "user with the id 12345"));
}

TEST_F(JournalTest, TwoCorruptOnesOfOneSecondAreBothKept) {
  for (int i = 0; i < 2; ++i) {
    std::ofstream(options_.path, std::ios::trunc) << std::string(5000, 'x');
    std::filesystem::remove(options_.path + "-wal");
    EXPECT_THAT(Open().moved_to, Not(IsEmpty()));
  }
  int kept = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
    const std::string name = entry.path().filename();
    if (name.find(".corrupt-") != std::string::npos && name.find("-wal") == std::string::npos &&
        name.find("-shm") == std::string::npos) {
      ++kept;
    }
  }
  EXPECT_EQ(kept, 2);
}

// Damage to the files of a journal that nobody has open.
class JournalDamageTest : public JournalTest {
 protected:
  // Makes a journal of `events` events, which stand in the database, or still in its log.
  void MakeFiles(int events, bool in_log) {
    for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(options_.path + suffix);
    files_.clear();
    const OpenedJournal opened = OpenAndFill(1, events);
    if (!in_log) {
      ASSERT_TRUE(opened.journal->MergeLog().ok());
    }
    for (const char* suffix : {"", "-wal", "-shm"}) {
      if (e2e::Exists(options_.path + suffix))
        files_[suffix] = e2e::ReadFile(options_.path + suffix);
    }
  }

  // Changes the bytes of one file, then opens the journal, reads all, writes, and opens it again.
  // Whatever is read is what was written. Returns whether the damage was found.
  bool IsFound(const std::string& suffix, const std::function<void(std::string*)>& change) {
    // Into the same files: they count as damaged, not as copied.
    for (const auto& [each, content] : files_) {
      std::string bytes = content;
      if (each == suffix) change(&bytes);
      std::ofstream(options_.path + each, std::ios::binary) << bytes;
    }
    bool found = false;
    for (const bool writes : {true, false}) {
      const OpenedJournal opened = Open();
      if (opened.journal == nullptr) return true;
      found = found || !opened.moved_because.empty();
      const absl::StatusOr<std::vector<std::string>> payloads = Read(1, opened.journal->newest());
      found = found || !payloads.ok();
      if (!payloads.ok()) {
        EXPECT_TRUE(absl::IsDataLoss(payloads.status())) << payloads.status();
      }
      for (size_t i = 0; payloads.ok() && i < payloads->size(); ++i) {
        EXPECT_EQ((*payloads)[i], absl::StrCat("web1 payload ", opened.journal->oldest() + i));
      }
      // A write may find what no read does.
      if (writes && !found) {
        found = absl::IsDataLoss(Append(opened.journal.get(), opened.journal->newest() + 1, 1));
      }
    }
    return found;
  }
  size_t Bytes(const std::string& suffix) const { return files_.at(suffix).size(); }

 private:
  std::map<std::string, std::string> files_;  // contents by the suffix of the name
};

TEST_F(JournalDamageTest, ADatabaseThatIsCutIsFound) {
  MakeFiles(3000, /*in_log=*/false);
  const size_t size = Bytes("");
  for (const size_t length : {size_t{99}, size_t{100}, size_t{512}, size_t{4095}, size_t{4096},
                              size_t{8192}, size / 3, size / 2, size - 4096, size - 1}) {
    EXPECT_TRUE(IsFound("", [&](std::string* bytes) { bytes->resize(length); })) << length;
  }
}

TEST_F(JournalDamageTest, OfALogThatIsCutWhatWasCommittedBeforeIsRead) {
  MakeFiles(300, /*in_log=*/true);
  const size_t size = Bytes("-wal");
  for (const size_t length : {size_t{0}, size_t{31}, size_t{32}, size_t{100}, size / 3, size / 2,
                              size - 4096, size - 1}) {
    SCOPED_TRACE(length);
    IsFound("-wal", [&](std::string* bytes) { bytes->resize(length); });
  }
}

TEST_F(JournalDamageTest, AFlippedBitReadsNothingFalse) {
  std::mt19937_64 random(20);
  for (const bool in_log : {false, true}) {
    MakeFiles(500, in_log);
    const std::string suffix = in_log ? "-wal" : "";
    for (int i = 0; i < 60; ++i) {
      // Half of them hit the first page, which holds the header and the schema.
      const uint64_t bits = 8 * (i % 2 == 0 ? 4096 : Bytes(suffix));
      const uint64_t bit = random() % bits;
      SCOPED_TRACE(absl::StrCat("bit ", bit, " of journal.db", suffix));
      IsFound(suffix, [&](std::string* bytes) {
        (*bytes)[bit / 8] = static_cast<char>((*bytes)[bit / 8] ^ (1 << bit % 8));
      });
    }
  }
}

TEST_F(JournalDamageTest, AnOverwrittenPageReadsNothingFalse) {
  MakeFiles(2000, /*in_log=*/false);
  const size_t pages = Bytes("") / 4096;
  std::mt19937_64 random(22);
  int found = 0;
  for (size_t page = 0; page < pages; ++page) {
    SCOPED_TRACE(absl::StrCat("page ", page));
    found += IsFound("", [&](std::string* bytes) {
      bytes->replace(page * 4096, 4096, std::string(4096, static_cast<char>(random())));
    });
  }
  EXPECT_GE(found, static_cast<int>(pages) - 2) << "of the pages, those that nothing is in";
}

TEST_F(JournalTest, AFlippedBitInAnEventIsFoundWhenItIsRead) {
  {
    const OpenedJournal opened = Open();
    for (uint64_t sequence : {1, 2, 3}) Fill(opened.journal.get(), sequence, 1);
  }
  FlipIn("payload 2");
  const OpenedJournal again = Open();
  EXPECT_THAT(again.moved_to, IsEmpty());
  EXPECT_THAT(Read(1, 3), FailsAs(absl::IsDataLoss, "event 2"));
}

TEST_F(JournalTest, AFlippedBitInASessionIsFoundAtOnce) {
  {
    const OpenedJournal opened = Open();
    Save(opened.journal.get(), {{SharedText("run-1"), "evidence"}});
  }
  FlipIn("evidence");
  const OpenedJournal again = Open();
  EXPECT_THAT(again.moved_because, HasSubstr("the run run-1"));
}

TEST_F(JournalTest, ANewerSchemaIsRefused) {
  Open();
  ASSERT_TRUE(ExecuteSql(options_.path, "PRAGMA user_version = 3").ok());
  EXPECT_THAT(OpenJournal(options_, kNow), FailsAs(absl::IsFailedPrecondition, "newer vmeventd"));
}

TEST_F(JournalTest, AForeignDatabaseIsRefusedAndLeftAlone) {
  ASSERT_TRUE(ExecuteSql(options_.path, "CREATE TABLE t(x)").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(OpenJournal(options_, kNow).status()));
}

TEST_F(JournalTest, AMissingDirectoryIsNamed) {
  options_.path = directory_ / "missing/journal.db";
  EXPECT_THAT(OpenJournal(options_, kNow), FailsAs(absl::IsUnavailable, "No such file"));
}

TEST_F(JournalTest, OneThatCannotBeOpenedIsUnavailable) {
  options_.path = directory_ / "missing.db";
  EXPECT_THAT(JournalReader::Open(options_.path), FailsAs(absl::IsUnavailable, "missing.db"))
      << "a client tries again";
}

TEST_F(JournalTest, ALinkInItsPlaceIsNotFollowed) {
  std::ofstream(directory_ / "target") << "";
  ASSERT_EQ(symlink((directory_ / "target").c_str(), options_.path.c_str()), 0);
  EXPECT_FALSE(OpenJournal(options_, kNow).ok());
}

TEST_F(JournalTest, CanBeReadByTheSqliteShellMeanwhile) {
  const OpenedJournal opened = OpenAndFill(1, 3);
  auto database = SqliteDatabase::Open(options_.path, SQLITE_OPEN_READONLY);
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_EQ(SqliteQuery(&*database, "SELECT sum(last - first + 1) FROM blocks").Number().value(),
            3);
}

TEST_F(JournalTest, AReaderOfAJournalThatIsBeingMadeTriesAgain) {
  std::ofstream(options_.path).close();
  EXPECT_THAT(JournalReader::Open(options_.path),
              FailsAs(absl::IsUnavailable, "is being made; try again"));
  Open();
  EXPECT_TRUE(JournalReader::Open(options_.path).ok());
}

}  // namespace
}  // namespace vmeventd
