// The journal's rows: retention, and what the reader finds.

#include "server/eventlog/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "server/eventlog/database_check.h"
#include "server/eventlog/event_listing.h"
#include "server/eventlog/evidence_types.h"
#include "server/eventlog/sqlite.h"
#include "server/events/complete_event.h"
#include "server/events/event_codec.h"
#include "tests/support/database_file.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/files.h"
#include "tests/support/filled_message.h"
#include "tests/support/journal_events.h"
#include "tests/support/log_vms.h"
#include "tests/support/pumped_state.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_time.h"
#include "tests/support/vm_updates.h"
#include "watcher/core/proto_time.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;

// "SEQUENCE NAME" of each event in the journal.
std::vector<std::string> Rows(PumpedState* state) {
  std::vector<std::string> out;
  const uint64_t first = state->log().range().unbroken_from;
  const auto events = JournalEvents(state->reader(), first).value();
  out.reserve(events.size());
  for (const v1::Event& event : events) {
    out.push_back(
        absl::StrCat(event.sequence(), " ", event.has_missing() ? "gap" : event.vm().name()));
  }
  return out;
}

TEST(JournalRows, EachFieldOfAnEventAndOfAStoppedVmOutlivesARestart) {
  v1::Vm vm;
  Fill(true, &vm);
  vm.set_state(v1::VM_STATE_STOPPED);
  v1::Event event;
  Fill(true, &event);
  event.set_type(v1::EVENT_TYPE_STOPPED);
  *event.mutable_observe_time() = ToTimestamp(At(0));
  PumpedState state;
  state.Push({{.status = vm, .event = event}});
  state.Restart(/*in_order=*/true);

  CompleteEvent(&vm, 1, &event);
  const std::vector<v1::Event> events = JournalEvents(state.reader()).value();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(Differences(event, events[0]), "");
  vm.set_last_sequence(1);
  const std::vector<VmRecordPtr> vms = VmsIn(state.log());
  ASSERT_EQ(vms.size(), 1u);
  EXPECT_EQ(Differences(vm, Parsed<v1::Vm>(vms[0]->encoded)), "");
}

TEST(Retention, ANoisyVmLosesItsOwnEventsAndNoEvidence) {
  PumpedState state({}, {.retention_events = 8});
  state.Push({Update("quiet", EventType::kStarted), Update("noisy", EventType::kStarted),
              Update("quiet", EventType::kReset)});
  state.PushEach("noisy", 20);
  state.Push({Stopped("quiet", "run-quiet", ShutdownClass::kCrash)});
  EXPECT_THAT(Rows(&state), ElementsAre("1 quiet", "2 noisy", "3 quiet", "19 gap", "20 noisy",
                                        "21 noisy", "22 noisy", "23 noisy", "24 quiet"));
}

TEST(Retention, TheContractTheAlertAndTheDocumentsNameTheEventsDroppedLast) {
  EXPECT_EQ(EvidenceNames(), "STARTED, STOPPED, INTENT_DECLARED, INTENT_ENDED and GAP");
  for (const char* file :
       {"/proto/vmeventd/v1/vm_events.proto", "/docs/internals/journal.md", "/docs/install.md",
        "/docs/monitoring.md", "/deploy/prometheus/vmeventd.rules.yml"}) {
    EXPECT_THAT(e2e::ReadFile(absl::StrCat(VMEVENTD_SOURCE_DIR, file)),
                testing::HasSubstr(EvidenceNames()))
        << file;
  }
}

TEST(Retention, VmsWithEquallyManyEventsLoseEquallyMany) {
  PumpedState state({}, {.retention_events = 6});
  for (int i = 0; i < 5; ++i) {
    state.Push({Update("a", EventType::kReset), Update("b", EventType::kReset),
                Update("c", EventType::kReset)});
  }
  EXPECT_THAT(Rows(&state), ElementsAre("10 a", "11 b", "12 c", "13 a", "14 b", "15 c"));
}

TEST(Retention, ANoisyVmLosesItsOwnEventsEvenIfTheyAreTheNewest) {
  PumpedState state({}, {.retention_events = 8});
  for (const char* name : {"a", "a", "b", "b", "noisy"}) state.PushEach(name, 1);
  state.PushEach("noisy", 5);
  state.PushEach("b", 3);
  EXPECT_THAT(Rows(&state), ElementsAre("1 a", "2 a", "7 gap", "8 noisy", "9 noisy", "10 noisy",
                                        "11 b", "12 b", "13 b"));
}

TEST(Retention, ANoisyVmIsStillKnownAfterARestart) {
  PumpedState state({}, {.retention_events = 8});
  state.PushEach("quiet", 2);
  state.PushEach("noisy", 7);
  state.Restart(/*in_order=*/true);
  state.PushEach("late", 2);
  EXPECT_THAT(Rows(&state), ElementsAre("1 quiet", "2 quiet", "5 gap", "6 noisy", "7 noisy",
                                        "8 noisy", "9 noisy", "10 late", "11 late"));
}

// A log whose writer deletes an event in its next turn.
class RetentionIsDue : public testing::Test {
 protected:
  void SetUp() override {
    state_.PushEach("a", 8);
    state_.PushUnwritten({Update("a", EventType::kReset)});
    ASSERT_TRUE(state_.log().StepWriter());
  }

  FaultyDisk disk_;
  PumpedState state_{{}, {.retention_events = 8}};
};

TEST_F(RetentionIsDue, AFullDiskIsNotAskedToDeleteUntilItCanWrite) {
  disk_.Fail(SQLITE_FULL);
  EXPECT_TRUE(state_.log().StepWriter());
  EXPECT_FALSE(state_.log().StepWriter());
  EXPECT_EQ(state_.log().meters().retention_errors.value(), 1u);
  disk_.Fail(SQLITE_OK);
  state_.PushEach("a", 1);
  EXPECT_EQ(Rows(&state_).size(), 8u);
}

TEST_F(RetentionIsDue, DamageThatItFindsIsReported) {
  GarbleDatabase(state_.journal_options().path);
  disk_.Fail(SQLITE_CORRUPT);
  ASSERT_TRUE(state_.log().StepWriter());
  EXPECT_FALSE(state_.log().state().journal_writable);
  EXPECT_TRUE(std::filesystem::exists(state_.journal_options().path + ".damaged"));
}

TEST(Retention, IfOnlyEvidenceIsLeftTheOldestOfItIsDeleted) {
  PumpedState state({}, {.retention_events = 3});
  for (int i = 0; i < 5; ++i) state.Push({Update(absl::StrCat("vm", i), EventType::kStarted)});
  EXPECT_THAT(Rows(&state), ElementsAre("3 vm2", "4 vm3", "5 vm4"));
  EXPECT_EQ(state.log().range().unbroken_from, 3u);
}

TEST(Retention, EventsThatAreTooOldAreDeletedExceptTheNewest) {
  PumpedState state({}, {.retention_age = absl::Hours(1)});
  state.Push({Update("a", EventType::kStarted, At(0)), Update("b", EventType::kReset, At(10))});
  state.Push({Update("c", EventType::kReset, At(3600 + 5))});
  state.clock().Advance(absl::Hours(1) + absl::Seconds(5));
  state.Write();
  EXPECT_THAT(Rows(&state), ElementsAre("2 b", "3 c"));
  state.clock().Advance(absl::Hours(24));
  state.Write();
  EXPECT_THAT(Rows(&state), ElementsAre("3 c"));
}

TEST(Retention, AClockThatIsAheadForAWhileDeletesNothing) {
  PumpedState state;
  const auto look = [&](absl::Duration after) {
    state.clock().Advance(after);
    state.Write();
  };
  for (int i = 0; i < 3; ++i) state.Push({Update("a", EventType::kStarted, At(i))});
  look(absl::Minutes(10));
  state.clock().Set(state.clock().Now().wall + absl::Hours(24 * 365));
  state.Push({Update("a", EventType::kStopped, state.clock().Now().wall)});
  look(absl::Minutes(7));
  look(absl::Minutes(4));
  state.clock().Set(state.clock().Now().wall - absl::Hours(24 * 365));
  for (int i = 0; i < 3; ++i) look(absl::Minutes(10));
  EXPECT_EQ(Rows(&state).size(), 4u);
}

TEST(Retention, AClockThatIsAheadWhenTheLogBeginsDeletesNothing) {
  PumpedState state;
  for (int i = 0; i < 3; ++i) state.Push({Update("a", EventType::kStarted, At(i))});
  state.clock().Set(At(int64_t{400} * 86'400));
  state.Restart(/*in_order=*/true);
  state.Write();
  EXPECT_EQ(Rows(&state).size(), 3u);
}

TEST(Retention, AnEventDatedInTheFutureIsAsOldAsTheOnesAfterIt) {
  PumpedState state({}, {.retention_age = absl::Hours(1)});
  state.Push({Update("a", EventType::kReset, At(int64_t{400} * 86'400)),
              Update("b", EventType::kReset, At(0)), Update("c", EventType::kReset, At(9'000))});
  state.clock().Advance(absl::Hours(2));
  state.Write();
  EXPECT_THAT(Rows(&state), ElementsAre("3 c"));
}

TEST(Retention, APositionBeforeWhatWasThinnedOutIsContinuedWithAGap) {
  PumpedState state(RingOf(2), {.retention_events = 6});
  state.Push({Update("quiet", EventType::kStarted)});
  state.PushEach("noisy", 20);
  ASSERT_TRUE(state.log().Begin(AfterSequence{2, kJournal}).ok());
  const auto events = JournalEvents(state.reader(), 3).value();
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events[0].type(), v1::EVENT_TYPE_GAP);
  EXPECT_EQ(events[0].gap_reason(), v1::GAP_REASON_RETENTION);
  EXPECT_LE(events[0].missing().first(), 3u);
  EXPECT_EQ(events[0].missing().last(), events[0].sequence());
  EXPECT_EQ(events[1].sequence(), events[0].sequence() + 1);
  // A page that ends among the thinned-out events has a GAP as well.
  uint64_t through = 0;
  const auto page = JournalEvents(state.reader(), 3, 10, &through).value();
  ASSERT_EQ(page.size(), 1u);
  EXPECT_EQ(page[0].sequence(), 10u);
  EXPECT_EQ(through, 10u);
}

// A reader may stop after any event of a page, and ask for what follows.
TEST(Retention, NothingIsThinnedOutWithoutAGapBeforeIt) {
  PumpedState state({}, {.retention_events = 6});
  for (const char* name : {"quiet", "noisy", "quiet", "noisy", "quiet", "noisy", "noisy"}) {
    state.Push(
        {Update(name, name == std::string("quiet") ? EventType::kStarted : EventType::kReset)});
  }
  state.PushEach("noisy", 1);
  const auto events = JournalEvents(state.reader(), 1).value();
  std::vector<std::string> found;
  found.reserve(events.size());
  for (const v1::Event& event : events) {
    found.push_back(
        absl::StrCat(event.sequence(), " ", event.missing().first(), "-", event.missing().last()));
  }
  EXPECT_THAT(found, ElementsAre("1 0-0", "2 2-4", "3 0-0", "5 0-0", "6 0-0", "7 0-0", "8 0-0"));
}

TEST(JournalReader, APositionBeforeTheOldestEventIsOutOfRange) {
  PumpedState state({}, {.retention_events = 4});
  state.PushEach("a", 10);
  EXPECT_EQ(state.log().range().unbroken_from, 7u);
  EXPECT_TRUE(absl::IsOutOfRange(JournalEvents(state.reader(), 3, 10).status()));
  EXPECT_TRUE(absl::IsOutOfRange(state.log().Begin(AfterSequence{3, kJournal}).status()));
  EXPECT_TRUE(state.log().Begin(AfterSequence{6, kJournal}).ok());
}

TEST(JournalReader, ATimeBeforeDeletedEventsIsOutOfRange) {
  PumpedState state({}, {.retention_events = 3});
  for (int64_t i = 1; i <= 6; ++i) state.Push({Update("a", EventType::kReset, At(i * 10))});
  EXPECT_TRUE(absl::IsOutOfRange(state.reader()->Locate(At(20)).status()));
  EXPECT_EQ(state.reader()->Locate(At(40)).value(), 4u);
}

TEST(JournalReader, IfNothingWasDeletedAnyTimeIsInRange) {
  PumpedState state;
  EXPECT_EQ(state.reader()->Locate(absl::UnixEpoch()).value(), 1u) << "it has no event yet";
  state.PushEach("a", 2);
  for (const absl::Time since : {absl::UnixEpoch(), absl::UnixEpoch() - absl::Hours(1'000'000)}) {
    EXPECT_EQ(state.reader()->Locate(since).value(), 1u) << since;
  }
}

// The times of thinned-out events are no longer known.
TEST(JournalReader, ATimeBeforeThinnedOutEventsBeginsAtTheOldestEvent) {
  PumpedState state({}, {.retention_events = 4});
  state.Push({Update("quiet", EventType::kStarted)});
  state.PushEach("noisy", 8);
  EXPECT_EQ(state.reader()->Locate(absl::UnixEpoch()).value(), 1u);
}

TEST(JournalReader, ATimeBeforeDeletedEventsStaysOutOfRangeAfterThinningOut) {
  PumpedState state({}, {.retention_events = 2});
  for (int64_t i = 1; i <= 3; ++i) state.Push({Update("a", EventType::kStarted, At(i * 10))});
  for (int64_t i = 4; i <= 5; ++i) state.Push({Update("a", EventType::kReset, At(i * 10))});
  ASSERT_THAT(Rows(&state), ElementsAre("3 a", "4 gap", "5 a"));
  EXPECT_TRUE(absl::IsOutOfRange(state.reader()->Locate(At(10)).status()));
}

// Memory may still have the thinned-out events.
TEST(JournalReader, TheOldestEventIsAfterTheThinnedOutOnes) {
  PumpedState state({}, {.retention_events = 2});
  state.Push({Update("a", EventType::kStarted)});
  state.PushEach("noisy", 4);
  state.Push({Update("a", EventType::kStarted)});
  state.Push({Update("a", EventType::kStarted)});
  const uint64_t oldest = state.log().range().oldest;
  ASSERT_GT(oldest, 2u);
  EXPECT_EQ(state.reader()->Locate(absl::InfinitePast()).value(), oldest);
}

TEST(JournalReader, ATimeWhoseEventsWereThinnedOutBeginsWithTheirGap) {
  PumpedState state({}, {.retention_events = 3});
  state.Push({Update("quiet", EventType::kReset, At(10))});
  for (int64_t i = 2; i <= 5; ++i) state.Push({Update("noisy", EventType::kReset, At(i * 10))});
  for (int64_t i = 6; i <= 7; ++i) state.Push({Update("a", EventType::kStarted, At(i * 10))});
  ASSERT_THAT(Rows(&state), ElementsAre("4 gap", "5 noisy", "6 a", "7 a"));
  EXPECT_EQ(state.reader()->Locate(At(30)).value(), 2u) << "where its GAP begins";
}

TEST(JournalReader, ATimeJustBeforeThinnedOutEventsBeginsWithTheirGap) {
  PumpedState state({}, {.retention_events = 3});
  state.Push({Update("quiet", EventType::kStarted, At(10))});
  for (int64_t i = 2; i <= 4; ++i) state.Push({Update("noisy", EventType::kReset, At(i * 10))});
  state.Push({Update("quiet", EventType::kStarted, At(50))});
  ASSERT_THAT(Rows(&state), ElementsAre("1 quiet", "3 gap", "4 noisy", "5 quiet"));
  EXPECT_EQ(state.reader()->Locate(At(15)).value(), 2u);
}

TEST(JournalReader, AGarbledRowIsReadAsAGap) {
  // The garbled rows, in this order: an encoding that does not end; another sequence; no sequence;
  // the type 0; a type other than the row's; a VM that does not end; no VM.
  for (const char* garbled :
       {"UPDATE stored SET event = x'0aff' WHERE sequence = 2",
        "UPDATE stored SET event = (SELECT event FROM stored WHERE sequence = 1) WHERE sequence=2",
        "UPDATE stored SET event = x'2805' WHERE sequence = 2",
        "UPDATE stored SET event = x'0802' WHERE sequence = 2",
        "UPDATE stored SET type = 6 WHERE sequence = 2",
        "UPDATE vms SET ref = x'0aff' WHERE id = (SELECT vm FROM stored WHERE sequence = 2)",
        "UPDATE stored SET vm = 777 WHERE sequence = 2"}) {
    PumpedState state;
    for (const char* name : {"a", "b", "c"}) state.Push({Update(name, EventType::kReset)});
    ASSERT_TRUE(ExecuteSql(state.journal_options().path, garbled).ok());
    const std::vector<v1::Event> events = JournalEvents(state.reader(), 1, 3).value();
    ASSERT_EQ(events.size(), 3u) << garbled;
    EXPECT_EQ(events[0].vm().name(), "a");
    EXPECT_EQ(events[1].type(), v1::EVENT_TYPE_GAP) << garbled;
    EXPECT_EQ(events[1].sequence(), 2u);
    EXPECT_EQ(events[1].gap_reason(), v1::GAP_REASON_DAMAGED);
    EXPECT_EQ(events[1].missing().first(), 2u);
    EXPECT_EQ(events[1].missing().last(), 2u);
    EXPECT_EQ(events[2].vm().name(), "c");
    v1::ListEventsRequest all;
    all.set_page_size(10);
    EventListing listing(&state.log(), all, 0, 1 << 20);
    EXPECT_TRUE(listing.Continue(state.reader()).value()) << garbled;
    EXPECT_TRUE(state.reported_writable());
  }
}

TEST(JournalReader, AGarbledSequenceHidesNoOtherRow) {
  PumpedState state({}, {.retention_events = 3});
  for (int64_t i = 1; i <= 3; ++i) state.Push({Update("a", EventType::kReset, At(i * 10))});
  ASSERT_TRUE(
      ExecuteSql(state.journal_options().path, "UPDATE stored SET sequence = -5 WHERE sequence = 1")
          .ok());
  const auto expect_others = [&] {
    for (const absl::Time since : {absl::InfinitePast(), At(0), At(20)}) {
      EXPECT_LE(state.reader()->Locate(since).value(), 2u) << since;
    }
    EXPECT_EQ(state.reader()->Locate(At(100)).value(), 4u);
    EXPECT_EQ(state.reader()->Within(At(0), At(100), 0).value(),
              std::pair(uint64_t{2}, uint64_t{3}));
    EXPECT_THAT(Rows(&state), ElementsAre("2 a", "3 a"));
  };
  expect_others();
  state.Restart(/*in_order=*/true);
  EXPECT_EQ(state.log().range().oldest, 2u);
  EXPECT_EQ(state.log().range().newest, 3u);
  expect_others();
  for (int64_t i = 4; i <= 6; ++i) state.Push({Update("a", EventType::kReset, At(i * 10))});
  EXPECT_THAT(Rows(&state), ElementsAre("4 a", "5 a", "6 a"));
  EXPECT_EQ(state.log().range().unbroken_from, 4u);
}

TEST(JournalReader, DamageThatACheckDoesNotConfirmIsTriedAgain) {
  FaultyDisk disk;
  PumpedState state;
  state.PushEach("a", 3);
  JournalReader* const reader = state.reader();
  disk.FailReads(SQLITE_CORRUPT);
  EXPECT_TRUE(absl::IsDataLoss(JournalEvents(reader, 1, 3).status())) << "the check fails, too";
  disk.FailReads(SQLITE_IOERR_READ);
  EXPECT_TRUE(absl::IsUnavailable(JournalEvents(reader, 1, 3).status()));
  disk.FailReads(SQLITE_OK);
  EXPECT_EQ(JournalEvents(reader, 1, 3)->size(), 3u);
}

TEST(JournalReader, OnePageThatCannotBeReadIsNoDamage) {
  constexpr int64_t kPage = 4096;
  FaultyDisk disk;
  PumpedState state;
  state.PushEach("a", 100);
  ASSERT_TRUE(ExecuteSql(state.journal_options().path, "PRAGMA wal_checkpoint(TRUNCATE)").ok());
  const absl::Status damage = absl::DataLossError("the disk image is malformed");
  disk.FailReads(SQLITE_IOERR_CORRUPTFS, 2 * kPage);  // what SQLite makes of EIO
  const absl::Status unreadable = CheckDatabase(state.journal_options().path, damage);
  EXPECT_TRUE(absl::IsUnavailable(unreadable));
  EXPECT_THAT(std::string(unreadable.message()),
              testing::AllOf(testing::HasSubstr("/journal.db: cannot be read: "),
                             testing::HasSubstr(": unable to get the page")));
  disk.FailReads(SQLITE_CORRUPT, 2 * kPage);
  EXPECT_TRUE(absl::IsDataLoss(CheckDatabase(state.journal_options().path, damage)));
}

TEST(JournalReader, AFailureThatMayPassHasItsReason) {
  FaultyDisk disk;
  PumpedState state;
  state.PushEach("a", 3);
  JournalReader* const reader = state.reader();
  disk.FailReads(SQLITE_IOERR_READ);
  const absl::Status failed = JournalEvents(reader, 1, 3).status();
  EXPECT_TRUE(absl::IsUnavailable(failed));
  EXPECT_TRUE(HasReason(failed, "JOURNAL_UNAVAILABLE"));
  const absl::Status located = reader->Locate(At(0)).status();
  EXPECT_TRUE(HasReason(located, "JOURNAL_UNAVAILABLE")) << located;
}

// A check of a large file takes long, and other reads wait for it.
TEST(JournalReader, TheSameFailureIsNotCheckedAgainAtOnce) {
  constexpr int64_t kPage = 4096;
  FaultyDisk disk;
  PumpedState state;
  state.PushEach("a", 100);
  ASSERT_TRUE(ExecuteSql(state.journal_options().path, "PRAGMA wal_checkpoint(TRUNCATE)").ok());
  JournalReader* const reader = state.reader();
  disk.FailReads(SQLITE_IOERR_CORRUPTFS, 2 * kPage);
  EXPECT_TRUE(HasReason(JournalEvents(reader, 1, 3).status(), "JOURNAL_UNAVAILABLE"));
  disk.FailReads(SQLITE_CORRUPT, 2 * kPage);  // which a check would confirm
  EXPECT_TRUE(HasReason(JournalEvents(reader, 1, 3).status(), "JOURNAL_UNAVAILABLE"));
  EXPECT_TRUE(absl::IsDataLoss(JournalEvents(state.reader(), 1, 3).status()));
}

TEST(JournalReader, EventsThatAreNotInOrderAreDamage) {
  PumpedState state;
  state.PushEach("a", 3);
  const std::string rows =
      "SELECT sequence, time, type, class, event, ref, since FROM stored JOIN vms ON vms.id = "
      "stored.vm";
  ASSERT_TRUE(ExecuteSql(state.journal_options().path,
                         absl::StrCat("DROP VIEW events; CREATE VIEW events AS ", rows,
                                      " UNION ALL ", rows, " WHERE sequence = 2"))
                  .ok());
  EXPECT_TRUE(absl::IsDataLoss(JournalEvents(state.reader(), 1, 3).status()));
}

TEST(Journal, AnEventTakesAtMostThreeHundredBytes) {
  PumpedState state;
  for (int i = 0; i < 40; ++i) {
    std::vector<VmUpdate> updates;
    for (int vm = 0; vm < 500; ++vm) {
      VmUpdate update = Update(absl::StrCat("web", vm, ".example.org"), EventType::kPaused,
                               At(i) + absl::Nanoseconds(vm * 1'234'567));
      update.status->mutable_ref()->set_run_id(
          absl::StrCat("550e8400-e29b-41d4-a716-", 200000000000 + vm, "-", 1'234'567'890));
      update.status->mutable_ref()->set_uuid(
          absl::StrCat("6b2f7a52-0d3c-4a8e-8f11-", 300000000000 + vm));
      update.status->mutable_ref()->set_pid(1'000'000 + vm);
      update.status->mutable_ref()->set_source("qmp:/run/ganeti/kvm-hypervisor/ctrl");
      update.status->set_state(ToProto(VmState::kPaused));
      update.event->mutable_qemu_time()->CopyFrom(ToTimestamp(At(i) - absl::Microseconds(300)));
      update.event->set_qmp_event("STOP");
      update.event->set_message("the VM was paused");
      updates.push_back(std::move(update));
    }
    state.PushUnwritten(std::move(updates));
  }
  state.Write();
  const std::string path = state.journal_options().path;
  ASSERT_TRUE(ExecuteSql(path, "PRAGMA wal_checkpoint(TRUNCATE)").ok());
  EXPECT_LE(std::filesystem::file_size(path) / 20'000, 300u);
}

TEST(Journal, AVmIsStoredOnceForAllItsEventsUntilItChanges) {
  PumpedState state({}, {.retention_events = 5});
  const auto vms = [&] {
    SqliteDatabase database(state.journal_options().path);
    return SqliteQuery(database, "SELECT count(*) FROM vms").Number();
  };
  VmUpdate update = Update("web1", EventType::kReset);
  for (const char* value : {"a", "a", "b"}) {
    auto& labels = *update.status->mutable_ref()->mutable_labels();
    labels["owner"] = value;
    for (int i = 0; i < 12; ++i) labels[absl::StrCat(i)] = "c";
    state.Push({update, update});
    EXPECT_EQ(vms(), *value == 'a' ? 1u : 2u);
  }
  EXPECT_EQ(JournalEvents(state.reader(), 5, 6)->at(0).vm().labels().at("owner"), "b");
  for (int i = 0; i < 5; ++i) state.Push({Update("web2", EventType::kStarted)});
  EXPECT_EQ(vms(), 1u) << "no event of the others is left";
}

TEST(Journal, OtherUsersCannotReadTheJournal) {
  PumpedState state;
  for (const char* suffix : {"", "-wal"}) {
    EXPECT_EQ(std::filesystem::status(state.journal_options().path + suffix).permissions() &
                  std::filesystem::perms::others_all,
              std::filesystem::perms::none);
  }
}

TEST(Journal, ALinkInItsPlaceIsNotFollowed) {
  const TemporaryDirectory directory;
  const std::string path = directory / "journal.db";
  std::filesystem::create_symlink(directory / "elsewhere", path);
  EXPECT_TRUE(absl::IsFailedPrecondition(Journal::Open({.path = path}, At(0)).status()));
  EXPECT_FALSE(std::filesystem::exists(directory / "elsewhere"));
}

TEST(Journal, TheJournalsDirectoryMayBeALink) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "other disk");
  std::filesystem::create_symlink(directory / "other disk", directory / "state");
  const std::string path = directory / "state/journal.db";
  EXPECT_TRUE(Journal::Open({.path = path}, At(0)).ok());
  EXPECT_TRUE(JournalReader::Open(path).ok());
}

TEST(Journal, NothingIsDurableInAFileThatWasRemoved) {
  for (const char* suffix : {"", "-wal"}) {
    PumpedState state;
    state.Push({Update("web1", EventType::kStarted)});
    const uint64_t durable = state.log().range().durable;
    const std::string journal_id = state.log().identity().journal_id;
    std::filesystem::remove(state.journal_options().path + suffix);
    state.Push({Update("web1", EventType::kPaused)});
    EXPECT_EQ(state.log().range().durable, durable) << suffix;
    EXPECT_FALSE(state.log().state().journal_writable) << suffix;
    state.Restart(/*in_order=*/true);
    EXPECT_TRUE(state.log().state().journal_writable) << suffix;
    EXPECT_NE(state.log().identity().journal_id, journal_id) << suffix;
  }
}

TEST(Journal, TheLastStoppedVmsAreRemembered) {
  PumpedState state;
  for (int i = 0; i < 3; ++i) {
    state.Push({Stopped(absl::StrCat("vm", i), absl::StrCat("run", i), ShutdownClass::kUser)});
  }
  state.Push({{.status = Status("lost its event", "run", VmState::kStopped)}});
  state.Restart(/*in_order=*/true);
  EXPECT_EQ(VmsIn(state.log()).size(), 4u);
  EXPECT_TRUE(FindVm(state.log(), {"vm2", "run2", ""})->stopped());
}

// A commit that ended with an error may have written its events.
TEST(Journal, AnEventAppendedTwiceIsStoredOnce) {
  const TemporaryDirectory directory;
  const auto opened = Journal::Open({.path = directory / "journal.db"}, At(0));
  ASSERT_TRUE(opened.ok());
  v1::Event event = *Update("a", EventType::kReset).event;
  event.set_sequence(1);
  JournalBatch batch;
  batch.Put(Logged(std::move(event)));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(opened->journal->Append(batch).ok());
  EXPECT_EQ(opened->journal->bounds().events, 1);
}

}  // namespace
}  // namespace vmeventd
