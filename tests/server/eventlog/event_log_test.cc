// Publication, durability and hangs, seen from outside the log.

#include "server/eventlog/event_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/eventlog/event_listing.h"
#include "tests/server/eventlog/overflow.h"
#include "tests/support/busy_clock.h"
#include "tests/support/client_events.h"
#include "tests/support/event_log_for_tests.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/log_vms.h"
#include "tests/support/proto_text.h"
#include "tests/support/pumped_state.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_time.h"
#include "tests/support/vm_updates.h"
#include "watcher/core/proto_time.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;

TEST(EventLog, AnEventIsPublicOnceItIsDurableOrHasWaitedForASecond) {
  PumpedState state;
  state.PushUnwritten({Reset()});
  EXPECT_EQ(state.log().range().newest, 0u) << "the disk has a second";
  state.Write();
  EXPECT_THAT(Durability(state.Events()), ElementsAre(Pair(1, true)));
  state.PushUnwritten({Reset()});
  state.clock().Advance(PublicationQueue::kPatience - absl::Milliseconds(1));
  state.PushUnwritten({Reset()});
  EXPECT_EQ(state.log().range().newest, 1u);
  EXPECT_EQ(EventLogForTests::NextStep(state.log()),
            state.clock().Now().monotonic + absl::Milliseconds(1));
  state.clock().Advance(absl::Milliseconds(1));
  state.PushUnwritten({});
  EXPECT_THAT(Durability(state.Events()), ElementsAre(Pair(1, true), Pair(2, false)));
  EXPECT_FALSE(state.log().state().published_durable);
  EXPECT_EQ(state.log().range().durable, 1u);
  state.Write();
  EXPECT_THAT(Durability(state.Events()), ElementsAre(Pair(1, true), Pair(2, true), Pair(3, true)));
  EXPECT_EQ(state.log().range().durable, 3u);
}

TEST(EventLog, AnUpdateWithoutAnEventIsDurableOnceEarlierOnesAre) {
  PumpedState state;
  state.PushUnwritten({Reset()});
  std::optional<bool> durable;
  VmUpdate confirm;
  confirm.on_public = [&] { durable = state.log().state().published_durable; };
  state.PushUnwritten({confirm});
  EXPECT_EQ(durable, std::nullopt);
  state.Write();
  EXPECT_EQ(durable, true);
}

TEST(EventLog, AHungDiskIsReportedAfterTwoSecondsAndLaterEventsArePublicAtOnce) {
  PumpedState state;
  state.PushUnwritten({Reset()});
  state.clock().Advance(Backlog::kMaxCommit - absl::Milliseconds(1));
  state.PushUnwritten({});
  EXPECT_TRUE(state.reported_writable());
  state.clock().Advance(absl::Milliseconds(1));
  state.PushUnwritten({});
  EXPECT_FALSE(state.reported_writable());
  EXPECT_FALSE(state.log().state().journal_writable);
  EXPECT_EQ(state.log().state().journal_age, Backlog::kMaxCommit);
  bool durable = true;
  VmUpdate stopped = Stopped("a", "run-a", ShutdownClass::kCrash);
  stopped.on_public = [&] { durable = state.log().state().published_durable; };
  state.PushUnwritten({stopped});
  EXPECT_FALSE(durable);
  EXPECT_EQ(FindVm(state.log(), {"a", "run-a", ""})->state, v1::VM_STATE_STOPPED);
  EXPECT_THAT(Durability(state.Events()), ElementsAre(Pair(1, false), Pair(2, false)));
  state.Write();
  EXPECT_EQ(state.log().state().journal_age, absl::ZeroDuration());
  EXPECT_EQ(state.log().range().durable, 2u);
  EXPECT_FALSE(state.reported_writable());
  EXPECT_EQ(EventLogForTests::NextStep(state.log()),
            state.clock().Now().monotonic + Backlog::kSettled);
  state.clock().Advance(Backlog::kSettled);
  state.PushUnwritten({});
  EXPECT_TRUE(state.reported_writable());
}

TEST(EventLog, ADiskThatIsAlwaysSlowIsNotReportedAsWorkingBetweenWrites) {
  PumpedState state;
  state.PushUnwritten({Reset()});
  for (int write = 0; write < 4; ++write) {
    state.clock().Advance(Backlog::kMaxCommit);
    state.PushUnwritten({Reset()});
    EXPECT_FALSE(state.reported_writable());
    EXPECT_THAT(state.log().state().journal_problem.text, HasSubstr("the disk does not answer"));
    state.Write();
    EXPECT_THAT(state.log().state().journal_problem.text, HasSubstr("the disk is slow"));
    state.PushUnwritten({Reset()});
    state.clock().Advance(PublicationQueue::kPatience);
    state.PushUnwritten({});
    EXPECT_FALSE(state.reported_writable());
  }
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

TEST(EventLog, BeyondTheBoundTheOldestEventsAreDroppedAndOneGapNamesThem) {
  PumpedState state;
  state.Push({Reset()});
  const uint64_t newest = 1 + Overflow(&state);
  EXPECT_EQ(state.log().range().newest, newest);
  EXPECT_LE(state.log().state().backlog_bytes, Backlog::kMaxBytes);
  const uint64_t lost = state.log().meters().lost_events.value();
  EXPECT_GT(lost, 0u);
  EXPECT_EQ(state.log().state().backlog_events, 400 - lost);
  EXPECT_EQ(state.log().range().durable, 1u);
  // Written in two batches: the durable sequence does not pass the hole before its GAP is there.
  state.TakePublished();
  ASSERT_TRUE(state.log().StepWriter());
  state.log().Step();
  EXPECT_TRUE(state.TakePublished()) << "a stream of durable events has more to read";
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
  EXPECT_EQ(state.log().state().backlog_events, 0u);
}

TEST(EventLog, MemoryIsFreedAsSoonAsADiskThatHungHasWritten) {
  PumpedState state(Ring{1'000});
  for (int i = 0; i < 15; ++i) state.PushUnwritten({Reset()});
  state.clock().Advance(PublicationQueue::kPatience);
  state.PushUnwritten({});
  EXPECT_GT(state.log().state().ring_bytes, 3'000u);
  ASSERT_TRUE(state.log().StepWriter());
  EXPECT_LE(state.log().state().ring_bytes, 1'000u);
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
  uint64_t dropped() { return state_.log().state().dropped_events; }
  ptrdiff_t Count(EventType type) {
    const std::vector<v1::Event> events = state_.Events();
    return std::count_if(events.begin(), events.end(),
                         [&](const v1::Event& event) { return event.type() == type; });
  }

  static constexpr int kNoise = 20;
  PumpedState state_{EventLogOptions{.max_waiting_bytes = 5'000}};
};

TEST_F(FullLog, EventsOtherThanEvidenceAreDroppedFirstAndOneGapCountsThem) {
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

TEST_F(FullLog, EvidenceHasABoundToo) {
  for (int i = 0; i < kNoise; ++i) state_.PushUnwritten({Noise("b", EventType::kStarted)});
  state_.Write();
  EXPECT_GT(Count(EventType::kStarted), 0);
  EXPECT_LT(Count(EventType::kStarted), kNoise);
}

TEST_F(FullLog, KeepsTheLatestStateOfEachVm) {
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

TEST_F(FullLog, TheCallbackOfADroppedEventIsCalled) {
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

std::vector<uint64_t> Listed(const EventListing& listing) {
  v1::ListEventsResponse response;
  EXPECT_TRUE(response.ParseFromString(listing.events()));
  std::vector<uint64_t> out;
  for (const v1::Event& event : response.events()) out.push_back(event.sequence());
  return out;
}

constexpr size_t kPageBytes = 1 << 20;

v1::ListEventsRequest CheckedList(const std::string& request) {
  auto list = FromText<v1::ListEventsRequest>(request);
  list.set_page_size(100);
  return list;
}

TEST(EventLog, AListingContinuesAfterAJumpOfTheSequences) {
  PumpedState state;
  state.PushEach("a", 2);
  state.Restart(/*in_order=*/false);
  state.PushEach("a", 2);
  for (const bool newest_first : {false, true}) {
    EventListing listing(&state.log(), CheckedList(newest_first ? "newest_first: true" : ""), 0,
                         kPageBytes);
    EXPECT_TRUE(listing.Continue(state.reader()).value());
    EXPECT_THAT(Listed(listing), SizeIs(5));
    EXPECT_EQ(listing.next(), 0u);
  }
}

TEST(EventLog, AListingIncludesEventsThatLeaveMemoryMeanwhile) {
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
  clock.Advance(PublicationQueue::kPatience);
  log->Step();
  ASSERT_EQ(log->range().committed, 64u);
  constexpr char kResets[] = "filter { types: EVENT_TYPE_RESET }";
  // The second look comes after the 64 events of the journal.
  clock.Do(2, [&] {
    write();
    push(EventType::kPaused);
    write();
    ASSERT_TRUE(log->Read(65, 1).in_journal_through.has_value());
  });
  EventListing listing(log.get(), CheckedList(kResets), 0, kPageBytes);
  EXPECT_TRUE(listing.Continue(JournalReader::Open(path).value().get()).value());
  EXPECT_THAT(Listed(listing), ElementsAre(65));

  // The same between two turns, the first of which finds where in the journal the times end.
  push(EventType::kReset);
  clock.Advance(PublicationQueue::kPatience);
  log->Step();
  ASSERT_EQ(log->range().committed, 66u);
  clock.Do(2, [&] {
    clock.Advance(absl::Seconds(1));
    write();
  });
  const auto reader = JournalReader::Open(path).value();
  v1::ListEventsRequest resets = CheckedList(kResets);
  *resets.mutable_end_time() = ToTimestamp(At(1'000'000));
  EventListing until(log.get(), resets, 0, kPageBytes);
  EXPECT_FALSE(until.Continue(reader.get()).value());
  EXPECT_TRUE(until.Continue(reader.get()).value());
  EXPECT_THAT(Listed(until), ElementsAre(65, 67));
}

// Nobody saw the end when it happened: it may have happened at any time in between.
TEST(EventLog, AListIncludesAnEndForAnyTimeAtWhichItMayHaveHappened) {
  PumpedState state;
  VmUpdate end = Stopped("a", "run-a", ShutdownClass::kUnknown);
  *end.event->mutable_observe_time() = ToTimestamp(At(50));
  *end.event->mutable_shutdown()->mutable_last_seen_time() = ToTimestamp(At(20));
  state.Push({std::move(end)});
  const auto reader = JournalReader::Open(state.journal_options().path).value();
  const auto lists = [&](int64_t start, int64_t stop) {
    v1::ListEventsRequest times = CheckedList("");
    *times.mutable_start_time() = ToTimestamp(At(start));
    *times.mutable_end_time() = ToTimestamp(At(stop));
    EventListing list(&state.log(), times, 0, kPageBytes);
    EXPECT_TRUE(list.Continue(reader.get()).value());
    return !Listed(list).empty();
  };
  EXPECT_FALSE(lists(10, 20));
  EXPECT_TRUE(lists(10, 21));
  EXPECT_TRUE(lists(30, 40));
  EXPECT_TRUE(lists(50, 60));
  EXPECT_FALSE(lists(51, 60));
}

}  // namespace
}  // namespace vmeventd
