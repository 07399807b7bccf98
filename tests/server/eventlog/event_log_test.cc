// Publication, durability, hangs and starts, seen from outside the log.

#include "server/eventlog/event_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/eventlog/event_listing.h"
#include "tests/support/event_log_for_tests.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;

std::vector<std::pair<uint64_t, bool>> Durability(const std::vector<v1::Event>& events) {
  std::vector<std::pair<uint64_t, bool>> out;
  out.reserve(events.size());
  for (const v1::Event& event : events) out.emplace_back(event.sequence(), event.durable());
  return out;
}

VmUpdate Reset() { return Update("a", EventType::kReset); }

TEST(EventLog, AnEventIsPublicOnceItIsDurableOrHasWaitedForASecond) {
  PumpedState state;
  state.PushUnwritten({Reset()});
  EXPECT_EQ(state.log().range().newest, 0u) << "the disk has a second";
  state.Write();
  EXPECT_THAT(Durability(state.Events()), ElementsAre(Pair(1, true)));
  state.PushUnwritten({Reset()});
  state.clock().Advance(EventLog::kPatience - absl::Milliseconds(1));
  state.PushUnwritten({Reset()});
  EXPECT_EQ(state.log().range().newest, 1u);
  EXPECT_EQ(EventLogForTests::NextStep(state.log()),
            state.clock().Now().monotonic + absl::Milliseconds(1));
  state.clock().Advance(absl::Milliseconds(1));
  state.PushUnwritten({});
  EXPECT_THAT(Durability(state.Events()), ElementsAre(Pair(1, true), Pair(2, false)));
  EXPECT_FALSE(state.log().health().published_durable);
  EXPECT_EQ(state.log().range().durable, 1u);
  state.Write();
  EXPECT_THAT(Durability(state.Events()), ElementsAre(Pair(1, true), Pair(2, true), Pair(3, true)));
  EXPECT_EQ(state.log().range().durable, 3u);
}

TEST(EventLog, WhatHasNothingToWriteIsAsDurableAsWhatCameBeforeIt) {
  PumpedState state;
  state.PushUnwritten({Reset()});
  std::optional<bool> durable;
  VmUpdate confirm;
  confirm.on_public = [&] { durable = state.log().health().published_durable; };
  state.PushUnwritten({confirm});
  EXPECT_EQ(durable, std::nullopt);
  state.Write();
  EXPECT_EQ(durable, true);
}

TEST(EventLog, ADiskThatHangsIsReportedAfterTwoSecondsAndWhatFollowsIsPublicAtOnce) {
  PumpedState state;
  state.PushUnwritten({Reset()});
  state.clock().Advance(EventLog::kMaxCommit - absl::Milliseconds(1));
  state.PushUnwritten({});
  EXPECT_TRUE(state.reported_writable());
  state.clock().Advance(absl::Milliseconds(1));
  state.PushUnwritten({});
  EXPECT_FALSE(state.reported_writable());
  EXPECT_FALSE(state.log().health().journal_writable);
  EXPECT_EQ(state.log().health().journal_age, EventLog::kMaxCommit);
  bool durable = true;
  VmUpdate stopped = Stopped("a", "run-a", ShutdownClass::kCrash);
  stopped.on_public = [&] { durable = state.log().health().published_durable; };
  state.PushUnwritten({stopped});
  EXPECT_FALSE(durable);
  EXPECT_EQ(FindVm(state.log(), {"a", "run-a", ""})->state, v1::VM_STATE_STOPPED);
  EXPECT_THAT(Durability(state.Events()), ElementsAre(Pair(1, false), Pair(2, false)));
  state.Write();
  EXPECT_TRUE(state.reported_writable());
  EXPECT_EQ(state.log().health().journal_age, absl::ZeroDuration());
  EXPECT_EQ(state.log().range().durable, 2u);
}

TEST(EventLog, AFullDiskDelaysNothingAndLosesNothing) {
  FaultyDisk disk;
  PumpedState state;
  disk.Fail(SQLITE_FULL);
  state.Push({Reset(), Reset()});
  EXPECT_THAT(Durability(state.Events()), ElementsAre(Pair(1, false), Pair(2, false)));
  EXPECT_FALSE(state.reported_writable());
  disk.Fail(SQLITE_OK);
  state.clock().Advance(absl::Seconds(1));
  state.Write();
  EXPECT_TRUE(state.reported_writable());
  EXPECT_THAT(Durability(state.Events()), ElementsAre(Pair(1, true), Pair(2, true)));
}

// Fills the backlog of a log whose disk hangs beyond its bound; returns the newest sequence.
uint64_t Overflow(PumpedState* state) {
  VmUpdate large = Reset();
  large.event->set_detail_json(std::string(100'000, 'x'));
  for (int i = 0; i < 40; ++i) state->PushUnwritten(std::vector<VmUpdate>(10, large));
  state->clock().Advance(absl::Seconds(3));
  do {
    state->PushUnwritten({});
  } while (EventLogForTests::NextStep(state->log()) <= state->clock().Now().monotonic);
  return 400;
}

const v1::Event* FindGap(const std::vector<v1::Event>& events) {
  for (const v1::Event& event : events) {
    if (event.has_missing()) return &event;
  }
  return nullptr;
}

TEST(EventLog, BeyondTheBoundTheOldestGoAndOneGapNamesThem) {
  PumpedState state;
  state.Push({Reset()});
  const uint64_t newest = 1 + Overflow(&state);
  EXPECT_EQ(state.log().range().newest, newest);
  EXPECT_LE(state.log().health().backlog_bytes, JournalOptions::kMaxBacklogBytes);
  const uint64_t lost = state.log().meters().lost_events.value();
  EXPECT_GT(lost, 0u);
  EXPECT_EQ(state.log().health().backlog_events, 400 - lost);
  EXPECT_EQ(state.log().range().durable, 1u);
  // Written in two batches: the durable sequence does not pass the hole before its GAP is there.
  ASSERT_TRUE(state.log().StepWriter());
  state.log().Step();
  EXPECT_GT(state.log().range().committed, lost);
  EXPECT_EQ(state.log().range().durable, 1u);
  state.Write();
  const std::vector<v1::Event> events = state.Events();
  const v1::Event* const gap = FindGap(events);
  ASSERT_NE(gap, nullptr);
  EXPECT_EQ(gap->gap_reason(), v1::GAP_REASON_NOT_WRITTEN);
  EXPECT_EQ(gap->missing().first(), 2u);
  EXPECT_EQ(gap->missing().last(), 1 + lost);
  EXPECT_EQ(state.log().range().durable, state.log().range().newest);
  EXPECT_EQ(events.size(), 1 + 400 - lost + 1);
  EXPECT_EQ(state.log().health().backlog_events, 0u);
}

TEST(EventLog, MemoryIsFreedAsSoonAsADiskThatHungHasWritten) {
  PumpedState state({.bytes = 1'000});
  for (int i = 0; i < 15; ++i) state.PushUnwritten({Reset()});
  state.clock().Advance(EventLog::kPatience);
  state.PushUnwritten({});
  EXPECT_GT(state.log().health().ring_bytes, 3'000u);
  ASSERT_TRUE(state.log().StepWriter());
  EXPECT_LE(state.log().health().ring_bytes, 1'000u);
}

TEST(EventLog, ABurstThatIsFasterThanTheDiskLosesNothing) {
  PumpedState state;
  VmUpdate large = Reset();
  large.event->set_detail_json(std::string(100'000, 'x'));
  state.Push(std::vector<VmUpdate>(500, large));
  EXPECT_EQ(state.log().range().durable, 500u);
  EXPECT_EQ(state.log().meters().lost_events.value(), 0u);
}

// A log for which the disk is too slow, and some of whose events of the VM "noisy" were dropped.
class FullLog : public testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < kNoise; ++i) state_.PushUnwritten({Noise()});
    ASSERT_GT(dropped(), 0u);
  }

  static VmUpdate Noise(const std::string& name = "noisy", EventType type = EventType::kReset) {
    VmUpdate noise = Update(name, type);
    noise.event->set_detail_json(std::string(1'000, 'x'));
    return noise;
  }
  uint64_t dropped() { return state_.log().health().dropped_events; }
  ptrdiff_t Count(EventType type) {
    const std::vector<v1::Event> events = state_.Events();
    return std::count_if(events.begin(), events.end(),
                         [&](const v1::Event& event) { return event.type() == type; });
  }

  static constexpr int kNoise = 20;
  PumpedState state_{{}, {.max_backlog_bytes = 5'000}};
};

TEST_F(FullLog, WhatIsNoEvidenceGoesFirstAndOneGapCounts) {
  state_.PushUnwritten({Update("b", EventType::kStarted)});
  state_.Write();
  EXPECT_EQ(Count(EventType::kReset), kNoise - static_cast<ptrdiff_t>(dropped()));
  EXPECT_EQ(Count(EventType::kStarted), 1);
  state_.PushEach("b", 1);
  EXPECT_EQ(Count(EventType::kGap), 1);
  for (const v1::Event& event : state_.Events()) {
    if (event.type() != EventType::kGap) continue;
    EXPECT_EQ(event.gap_reason(), GapReason::kQueueFull);
    EXPECT_THAT(event.message(), HasSubstr(absl::StrCat(dropped(), " events of VMs were dropped")));
  }
}

TEST_F(FullLog, EvenEvidenceHasABound) {
  for (int i = 0; i < kNoise; ++i) state_.PushUnwritten({Noise("b", EventType::kStarted)});
  state_.Write();
  EXPECT_GT(Count(EventType::kStarted), 0);
  EXPECT_LT(Count(EventType::kStarted), kNoise);
}

TEST_F(FullLog, LosesNoStateOfAVm) {
  VmUpdate saved = Noise("a");
  for (const char* state : {"first", "second"}) {
    saved.saved_run = state;
    state_.PushUnwritten({saved});
  }
  VmUpdate later = Noise("a");
  later.status->set_state(ToProto(VmState::kPaused));
  state_.PushUnwritten({later});  // saves nothing: the one before counts
  state_.Write();
  EXPECT_EQ(FindVm(state_.log(), {"a", "run-a", ""})->state, ToProto(VmState::kPaused));
  state_.Restart(/*in_order=*/false);
  EXPECT_EQ(state_.log().TakeRuns().at("run-a").payload, "second");
}

TEST_F(FullLog, WhoeverWaitsForAnEventIsAnswered) {
  int answered = 0;
  for (int i = 0; i < 2 * kNoise; ++i) {
    VmUpdate update = Noise("a", EventType::kIntentDeclared);
    update.on_public = [&] { ++answered; };
    state_.PushUnwritten({update});
  }
  state_.Write();
  EXPECT_EQ(answered, 2 * kNoise);
  EXPECT_LT(Count(EventType::kIntentDeclared), 2 * kNoise);
}

TEST(EventLog, AGapThatIsDroppedItselfIsNamedByTheNext) {
  PumpedState state;
  Overflow(&state);
  ASSERT_TRUE(state.log().StepWriter());
  state.log().Step();  // gives the first GAP its sequence
  Overflow(&state);
  state.Write();
  uint64_t first = UINT64_MAX;
  uint64_t last = 0;
  std::vector<bool> there(2'000);
  for (const v1::Event& event : state.Events()) {
    there[event.sequence()] = true;
    if (!event.has_missing()) continue;
    first = std::min(first, event.missing().first());
    last = std::max(last, event.missing().last());
  }
  for (uint64_t sequence = 1; sequence <= state.log().range().newest; ++sequence) {
    EXPECT_TRUE(there[sequence] || (first <= sequence && sequence <= last)) << sequence;
  }
}

TEST(EventLog, TheStateOfTheVmsOutlivesTheEventsThatAreDropped) {
  PumpedState state;
  VmUpdate open = Update("open", EventType::kStarted);
  open.saved_run = "state of open";
  VmUpdate closed = Update("closed", EventType::kStarted);
  closed.saved_run = "state of closed";
  state.Push({closed});
  state.PushUnwritten({open});
  closed = Stopped("closed", "run-closed", ShutdownClass::kUser);
  closed.saved_run = "";
  VmUpdate brief = Update("brief", EventType::kStarted);
  brief.saved_run = "state of brief";
  state.PushUnwritten({closed, brief});
  brief = Stopped("brief", "run-brief", ShutdownClass::kUser);
  brief.saved_run = "";
  state.PushUnwritten({brief});
  Overflow(&state);
  state.Write();
  state.Restart(/*in_order=*/true);
  const SavedRuns saved = state.log().TakeRuns();
  ASSERT_EQ(saved.size(), 1u);
  EXPECT_EQ(saved.begin()->second.payload, "state of open");
}

TEST(EventLog, AfterAStopInOrderTheSequencesContinueWithoutAGap) {
  PumpedState state;
  state.PushEach("a", 3);
  state.Restart(/*in_order=*/true);
  EXPECT_EQ(state.log().range().newest, 3u);
  state.PushEach("a", 1);
  EXPECT_THAT(Durability(state.Events()),
              ElementsAre(Pair(1, true), Pair(2, true), Pair(3, true), Pair(4, true)));
  EXPECT_EQ(state.log().identity().journal_id, kJournal);
}

TEST(EventLog, AfterACrashNoSequenceIsGivenAgainAndAGapNamesWhatIsNotThere) {
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

// Has a start fail to write the file of the reserved sequences, which it can read.
void RestartWithoutMark(PumpedState* state) {
  const std::filesystem::path path =
      std::filesystem::path(state->journal_options().path).parent_path() / "sequence";
  const std::filesystem::path away = path.string() + ".away";
  std::filesystem::rename(path, away);
  std::filesystem::create_symlink(away, path);
  state->Restart(/*in_order=*/false);
  std::filesystem::rename(away, path);
}

TEST(EventLog, AStartThatCanReserveNoSequencesBeginsAnotherJournalWithTheSameEvents) {
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

std::vector<uint64_t> Listed(const EventListing& listing) {
  v1::ListEventsResponse response;
  EXPECT_TRUE(response.ParseFromString(listing.events()));
  std::vector<uint64_t> out;
  for (const v1::Event& event : response.events()) out.push_back(event.sequence());
  return out;
}

TEST(EventLog, AListingPassesOverAJumpOfTheSequences) {
  PumpedState state;
  state.PushEach("a", 2);
  state.Restart(/*in_order=*/false);
  state.PushEach("a", 2);
  for (const bool newest_first : {false, true}) {
    EventListing listing(&state.log(), EventMatcher(), {.newest_first = newest_first}, 1 << 20);
    EXPECT_TRUE(listing.Continue(state.reader()).value());
    EXPECT_THAT(Listed(listing), SizeIs(5));
    EXPECT_EQ(listing.next(), 0u);
  }
}

TEST(EventLog, AListingHasWhatIsWrittenAndLeavesMemoryMeanwhile) {
  const TemporaryDirectory directory;
  const std::string path = directory / "journal.db";
  BusyClock clock;
  const auto log =
      EventLog::Open({.journal = {.path = path}, .ring_bytes = RingOf(1).bytes}, &clock).value();
  const auto push = [&](EventType type) {
    log->Push(Update("a", type));
    log->EndTurn();
    log->Step();
  };
  const auto write = [&] {
    while (log->StepWriter()) {
    }
    log->Step();
  };
  for (int i = 0; i < 64; ++i) push(EventType::kPaused);
  write();
  push(EventType::kReset);
  clock.Advance(EventLog::kPatience);
  log->Step();
  ASSERT_EQ(log->range().committed, 64u);
  v1::EventFilter filter;
  filter.add_types(v1::EVENT_TYPE_RESET);
  // The second look is behind the 64 events of the journal.
  clock.Do(2, [&] {
    write();
    push(EventType::kPaused);
    write();
    ASSERT_TRUE(log->Read(65, 1).in_journal_through.has_value());
  });
  EventListing listing(log.get(), EventMatcher(filter), {}, 1 << 20);
  EXPECT_TRUE(listing.Continue(JournalReader::Open(path).value().get()).value());
  EXPECT_THAT(Listed(listing), ElementsAre(65));

  // The same between two turns, of which the first finds where in the journal the times end.
  push(EventType::kReset);
  clock.Advance(EventLog::kPatience);
  log->Step();
  ASSERT_EQ(log->range().committed, 66u);
  clock.Do(2, [&] {
    clock.Advance(absl::Seconds(1));
    write();
  });
  const auto reader = JournalReader::Open(path).value();
  EventListing until(log.get(), EventMatcher(filter), {.end = At(1'000'000)}, 1 << 20);
  EXPECT_FALSE(until.Continue(reader.get()).value());
  EXPECT_TRUE(until.Continue(reader.get()).value());
  EXPECT_THAT(Listed(until), ElementsAre(65, 67));
}

TEST(EventLog, AHoleThatNoGapNamesYetIsNamedByTheNextStart) {
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
  void GoOn() {
    const JournalEnd left = state_.log().end();
    HandedLog handed = state_.log().HandOver();
    handed.runs = {{"run-b", {"state of b", 3}}};
    state_.Restart(/*in_order=*/false, [&](const JournalEnd& found) {
      EXPECT_TRUE(left.Meets(found));
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

TEST_F(HandedLogTest, WhatAFullDiskDidNotTakeGoesOnWaitingForIt) {
  ExpectAll(/*durable=*/false);
  for (int i = 0; i < 2; ++i) {
    GoOn();
    ExpectAll(/*durable=*/false);
  }
  disk_.Fail(SQLITE_OK);
  state_.clock().Advance(absl::Seconds(1));
  state_.Write();
  ExpectAll(/*durable=*/true);
  state_.PushEach("b", 1);
  EXPECT_EQ(state_.log().range().durable, 4u) << "no sequence is missing";
}

TEST_F(HandedLogTest, ItsRunsAreOpenAndNoOthers) {
  disk_.Fail(SQLITE_OK);
  GoOn();
  ExpectAll(/*durable=*/true);
  const SavedRuns saved = state_.log().TakeRuns();
  ASSERT_THAT(saved, SizeIs(1));
  EXPECT_EQ(saved.at("run-b").payload, "state of b");
  EXPECT_EQ(saved.at("run-b").last_sequence, 3u);
  state_.Restart(/*in_order=*/false);
  EXPECT_THAT(state_.log().TakeRuns(), SizeIs(0)) << "the journal has no longer the first run";
}

// The disk that hung took them after all.
TEST_F(HandedLogTest, WhatWasWrittenMeanwhileIsNotWrittenTwice) {
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

// It had begun as that one, and could not store it.
TEST_F(HandedLogTest, GoesOnAsTheSameJournalWhateverTheFileSays) {
  disk_.Fail(SQLITE_OK);
  HandedLog handed = state_.log().HandOver();
  handed.journal_id = "another";
  state_.Restart(/*in_order=*/false, [&](const JournalEnd&) { return handed; });
  EXPECT_EQ(state_.log().identity().journal_id, "another");
  ExpectAll(/*durable=*/true);
  state_.Restart(/*in_order=*/true);
  EXPECT_EQ(state_.log().identity().journal_id, "another");
}

TEST_F(HandedLogTest, BeyondTheBoundTheOldestGo) {
  for (int i = 0; i < 20; ++i) state_.PushEach("b", 1);
  HandedLog handed = state_.log().HandOver();
  ASSERT_THAT(handed.unwritten.events, SizeIs(22));
  disk_.Fail(SQLITE_OK);
  PumpedState small({}, {.max_backlog_bytes = 8 * handed.unwritten.events.back()->memory()});
  disk_.Fail(SQLITE_FULL);
  small.Restart(/*in_order=*/false, [&](const JournalEnd&) { return handed; });
  const std::vector<v1::Event> left = small.Events(small.log().range().oldest);
  ASSERT_GT(left.size(), 5u);
  EXPECT_EQ(left[left.size() - 2].sequence(), 23u);
  EXPECT_EQ(left.back().missing().last(), 1u) << "which was written to another journal";
  EXPECT_LT(left.size(), 12u);
}

// More of them waited than may.
TEST_F(HandedLogTest, AGapNamesWhatIsInNeither) {
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
    ASSERT_TRUE(ExecuteSql(path, "PRAGMA wal_checkpoint(TRUNCATE)").ok());
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file << std::string(4096, '\x5a');
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
  }
}

TEST(EventLog, DamageThatIsFoundWhileRunningIsReplacedByTheNextStart) {
  FaultyDisk disk;
  PumpedState state;
  state.PushEach("a", 1);
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

TEST(EventLog, AnotherProgramsDatabaseIsLeftAlone) {
  const TemporaryDirectory directory;
  const std::string path = directory / "journal.db";
  ASSERT_TRUE(ExecuteSql(path, "CREATE TABLE mine(x)").ok());
  FakeClock clock;
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
}

// Has the next start find no journal that it can open, until it is repaired.
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
  EXPECT_FALSE(state.log().health().journal_writable);
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
  EXPECT_TRUE(state.log().health().journal_writable);
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

TEST(UnopenedJournal, AGapSaysThatItsOpenRunsWereNotFollowed) {
  PumpedState state;
  LeaveOpenRun(&state);
  state.Restart(/*in_order=*/true);
  Repair(&state);
  const std::vector<v1::Event> events = state.Events(2);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].gap_reason(), v1::GAP_REASON_JOURNAL_LATE);
  EXPECT_THAT(events[0].message(), HasSubstr("have no STOPPED"));
}

TEST(UnopenedJournal, NoGapIsDueWhereItsOpenRunsWereHandedOver) {
  PumpedState state;
  LeaveOpenRun(&state);
  state.Restart(/*in_order=*/true, [](const JournalEnd& found) {
    EXPECT_EQ(found.newest, UINT64_MAX) << "what its file has is not known";
    return HandedLog{.journal_id = kJournal, .newest = 1, .runs = {{"run-a", {"state"}}}};
  });
  EXPECT_THAT(state.log().TakeRuns(), SizeIs(1));
  Repair(&state);
  EXPECT_THAT(state.Events(2), SizeIs(0));
}

TEST(UnopenedJournal, AGapIsStillDueWhereADaemonHandsOverWhatItDidNotKnow) {
  PumpedState state;
  LeaveOpenRun(&state);
  state.Restart(/*in_order=*/false);
  HandedLog handed = state.log().HandOver();
  EXPECT_FALSE(handed.knows_runs);
  state.Restart(/*in_order=*/false, [&](const JournalEnd&) { return handed; });
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
  state.clock().Advance(EventLog::kPatience);
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

TEST(UnopenedJournal, AGapNamesAllOfAFileThatIsGoneWhenItCanBeOpened) {
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

TEST(UnopenedJournal, AHoleThatNoGapNamesYetIsNamedWhenItCanBeOpened) {
  PumpedState state({}, {.max_backlog_bytes = 400});  // less than two events
  for (int i = 0; i < 3; ++i) {
    state.PushUnwritten({Reset()});
    state.clock().Advance(EventLog::kMaxCommit);
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
