#include "server/eventlog/live_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/events/event_codec.h"
#include "tests/support/proto_text.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

absl::StatusOr<uint64_t> CursorOf(const LiveState& live_state, const WatchStart& start) {
  const absl::StatusOr<StreamBegin> begin = live_state.Begin(start);
  if (!begin.ok()) return begin.status();
  return begin->cursor;
}

std::vector<uint64_t> FirstSequences(const ReadResult& page) {
  std::vector<uint64_t> out;
  for (const EventBlockPtr& block : page.blocks) out.push_back(block->first_sequence());
  return out;
}

uint64_t RingOldest(PumpedState* pumped) {
  const ReadResult read = pumped->log().Read(1, {.max_bytes = 1});
  return read.history.has_value() ? read.history->last + 1 : 1;
}

std::vector<std::string> Names(const std::vector<VmRecordPtr>& vms) {
  std::vector<std::string> out;
  out.reserve(vms.size());
  for (const VmRecordPtr& vm : vms) {
    out.push_back(absl::StrCat(vm->name(), "/", vm->run_id()));
  }
  return out;
}

std::vector<std::string> Names(const VmSnapshot& snapshot) {
  std::vector<std::string> out;
  for (const SnapshotChunkPtr& chunk : snapshot.chunks) {
    for (const std::string& name : Names(chunk->vms())) out.push_back(name);
  }
  return out;
}

TEST(LiveState, IsEmptyAtFirst) {
  PumpedState pumped;
  EXPECT_EQ(pumped.live_state().range().oldest, 1);
  EXPECT_EQ(pumped.live_state().range().newest, 0);
  EXPECT_THAT(pumped.log().Read(1, {.max_bytes = 1000}).blocks, IsEmpty());
  EXPECT_EQ(CursorOf(pumped.live_state(), FromNow{}).value(), 0);
  EXPECT_EQ(CursorOf(pumped.live_state(), FromOldest{}).value(), 0);
  EXPECT_EQ(CursorOf(pumped.live_state(), AfterSequence{0, kJournal}).value(), 0);
}

TEST(LiveState, NumbersEventsFromOne) {
  PumpedState pumped;
  pumped.Push({Update("a", EventType::kStarted), Update("b", EventType::kStarted)});
  pumped.PushEach("a", 1);
  EXPECT_EQ(pumped.live_state().range().newest, 3);
  EXPECT_THAT(FirstSequences(pumped.log().Read(1, {.max_bytes = 1 << 20})), ElementsAre(1, 3));
  EXPECT_THAT(FirstSequences(pumped.log().Read(2, {.max_bytes = 1 << 20})), ElementsAre(1, 3));
  EXPECT_THAT(FirstSequences(pumped.log().Read(3, {.max_bytes = 1 << 20})), ElementsAre(3));
  EXPECT_THAT(FirstSequences(pumped.log().Read(3, {.max_bytes = 1 << 20, .backward = true})),
              ElementsAre(3, 1));
  EXPECT_THAT(FirstSequences(pumped.log().Read(1, {.max_bytes = 1})), ElementsAre(1));
}

TEST(LiveState, EvictsTheOldestByCount) {
  PumpedState pumped(RingOf(3), {.retention_events = 3});
  pumped.PushEach("a", 10);
  EXPECT_EQ(pumped.live_state().range().oldest, 8);
  EXPECT_EQ(pumped.live_state().range().newest, 10);
  EXPECT_EQ(RingOldest(&pumped), 8);
}

TEST(LiveState, EvictsTheOldestByBytesButNeverTheNewest) {
  PumpedState pumped({.ring = {.max_bytes = 2000}});
  pumped.PushEach("a", 100);
  EXPECT_GT(RingOldest(&pumped), 90);
  EXPECT_LT(RingOldest(&pumped), 100);
  EXPECT_EQ(pumped.live_state().range().oldest, 1) << "the journal has it still";
  PumpedState tiny({.ring = {.max_bytes = 1}});
  tiny.PushEach("a", 5);
  EXPECT_EQ(RingOldest(&tiny), 5);
}

TEST(LiveState, ResumesWithinWhatIsRetained) {
  PumpedState pumped(RingOf(3), {.retention_events = 3});
  pumped.PushEach("a", 10);  // retains 8, 9, 10
  const LiveState& live_state = pumped.live_state();
  EXPECT_EQ(CursorOf(live_state, AfterSequence{10, kJournal}).value(), 10);
  EXPECT_EQ(CursorOf(live_state, AfterSequence{7, kJournal}).value(), 7);
  EXPECT_EQ(CursorOf(live_state, FromOldest{}).value(), 7);
  EXPECT_THAT(CursorOf(live_state, AfterSequence{6, kJournal}),
              FailsAs(absl::IsOutOfRange, "oldest retained sequence is 8"));
  EXPECT_THAT(CursorOf(live_state, AfterSequence{11, kJournal}),
              FailsAs(absl::IsOutOfRange, "newest sequence, 10"));
  EXPECT_THAT(CursorOf(live_state, AfterSequence{UINT64_MAX, kJournal}),
              FailsAs(absl::IsOutOfRange, ""));
  EXPECT_THAT(CursorOf(live_state, AfterSequence{10, "other"}),
              AllOf(FailsAs(absl::IsOutOfRange, "other"), Says(kJournal)));
}

TEST(LiveState, PutsAGapInThePlaceOfWhatWasGivenUp) {
  PumpedState pumped;
  pumped.PushEach("a", 6);
  v1::Event gap;
  gap.set_sequence(4);
  EventBlockBuilder builder;
  builder.Add(gap);
  pumped.live_state().PutGap(2, builder.Finish());
  EXPECT_THAT(FirstSequences(pumped.log().Read(1, {.max_bytes = 1 << 20})),
              ElementsAre(1, 4, 5, 6));
  EXPECT_THAT(FirstSequences(pumped.log().Read(6, {.max_bytes = 1 << 20, .backward = true})),
              ElementsAre(6, 5, 4, 1));
  EXPECT_EQ(pumped.live_state().range().newest, 6);
  EXPECT_EQ(pumped.live_state().range().oldest, 1);
}

TEST(LiveState, KeepsEachVmAsItsLastStatusSays) {
  PumpedState pumped;
  pumped.Push({Update("b", EventType::kStarted), Update("a", EventType::kStarted)});
  VmUpdate pause = Update("b", EventType::kPaused);
  pause.status->state = VmState::kPaused;
  pumped.Push({pause});
  const EventLog::VmPage page = pumped.live_state().ListVmsAfter(nullptr, 10);
  EXPECT_EQ(page.sequence, 3);
  EXPECT_THAT(Names(page.vms), ElementsAre("a/run-a", "b/run-b"));
  EXPECT_EQ(page.vms[1]->state(), v1::VM_STATE_PAUSED);
  EXPECT_EQ(page.vms[1]->last_sequence(), 3);
  EXPECT_EQ(page.vms[0]->last_sequence(), 2);
  EXPECT_EQ(pumped.live_state().vm_count(), 2);
}

TEST(LiveState, AStatusWithoutAnEventKeepsTheLastSequence) {
  PumpedState pumped;
  VmUpdate problem;
  problem.status = Status("a", "run-a");
  problem.status->problems = {"monitor held by another client"};
  pumped.Push({Update("a", EventType::kStarted), problem});
  EXPECT_EQ(pumped.live_state().range().newest, 1);
  const VmRecordPtr vm = pumped.live_state().FindVm({"a", "run-a", ""});
  ASSERT_NE(vm, nullptr);
  EXPECT_EQ(vm->last_sequence(), 1);
  EXPECT_EQ(DecodeSnapshotVmField(vm->encoded()).problems(0), "monitor held by another client");
}

TEST(LiveState, RetainsTheNewestStoppedRuns) {
  PumpedState pumped({.max_stopped = 2});
  for (const char* name : {"d", "c", "b", "a"}) {
    pumped.Push({Update(name, EventType::kStarted),
                 Stopped(name, absl::StrCat("run-", name), ShutdownClass::kUser)});
  }
  EXPECT_EQ(pumped.live_state().vm_count(), 0);
  const std::vector<VmRecordPtr> vms = pumped.live_state().ListVmsAfter(nullptr, 10).vms;
  EXPECT_THAT(Names(vms), ElementsAre("a/run-a", "b/run-b"));
  EXPECT_EQ(DecodeSnapshotVmField(vms[0]->encoded()).shutdown().class_(), v1::SHUTDOWN_CLASS_USER);
}

// The live state of so many running VMs.
std::unique_ptr<PumpedState> StateOf(int vms, LiveStateOptions options = {}) {
  auto pumped = std::make_unique<PumpedState>(options);
  std::vector<VmUpdate> updates;
  updates.reserve(static_cast<size_t>(vms));
  for (int i = 0; i < vms; ++i) {
    updates.push_back(Update(absl::StrFormat("vm%04d", i), EventType::kStarted));
  }
  pumped->Push(std::move(updates));
  return pumped;
}

VmSnapshotPtr SnapshotOf(PumpedState& pumped) {
  return pumped.live_state().Begin(FromSnapshot{}).value().snapshot;
}

TEST(LiveState, StreamsThatBeginAtTheSameStateShareTheirSnapshot) {
  const auto pumped = StateOf(9'000);
  const VmSnapshotPtr first = SnapshotOf(*pumped);
  std::vector<VmSnapshotPtr> held;
  held.reserve(4'000);
  for (int i = 0; i < 4'000; ++i) held.push_back(SnapshotOf(*pumped));
  EXPECT_EQ(held.back(), first);
}

TEST(LiveState, SnapshotsOfDifferentMomentsShareWhatHasNotChanged) {
  // Fewer than ten whole ones take.
  const auto pumped = StateOf(9'000, {.max_snapshot_bytes = 10'000'000});
  std::vector<VmSnapshotPtr> held = {SnapshotOf(*pumped)};
  for (int i = 0; i < 100; ++i) {
    // One changes, one comes, one goes.
    pumped->Push({Update(absl::StrFormat("vm%04d", i * 90), EventType::kReset),
                  Update(absl::StrFormat("vm%04d-new", i * 90), EventType::kStarted),
                  Stopped(absl::StrFormat("vm%04d", i * 90 + 45),
                          absl::StrFormat("run-vm%04d", i * 90 + 45), ShutdownClass::kUser)});
    held.push_back(SnapshotOf(*pumped));
  }
  EXPECT_EQ(Names(*held.front()).size(), 9'000u);
  std::vector<VmRecordPtr> running = pumped->live_state().ListVmsAfter(nullptr, SIZE_MAX).vms;
  running.erase(std::remove_if(running.begin(), running.end(),
                               [](const VmRecordPtr& vm) { return vm->stopped(); }),
                running.end());
  EXPECT_EQ(Names(*held.back()), Names(running));
}

TEST(LiveState, RefusesMoreSnapshotsThanThereIsMemoryFor) {
  const auto pumped = StateOf(1'000, {.max_snapshot_bytes = 100'000});
  VmSnapshotPtr held = SnapshotOf(*pumped);
  EXPECT_EQ(SnapshotOf(*pumped), held) << "what is there costs nothing";
  pumped->Push({Update("vm0000", EventType::kReset)});
  const absl::Status refused = pumped->live_state().Begin(FromSnapshot{}).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  held.reset();
  EXPECT_EQ(Names(*SnapshotOf(*pumped)).size(), 1'000u);
}

TEST(EventPump, SaysWhenEventsArePublicAndEndsWithTheQueue) {
  PumpedState pumped;
  uint64_t published = 0;
  pumped.log().Subscribe({.published = [&] { published = pumped.live_state().range().newest; }});
  pumped.queue().Push(Update("a", EventType::kStarted));
  EXPECT_TRUE(pumped.pump().RunOnce(absl::ZeroDuration()));
  EXPECT_EQ(published, 1);
  pumped.queue().Push(Update("a", EventType::kReset));
  pumped.queue().Close();
  while (pumped.pump().RunOnce(absl::ZeroDuration())) {
  }
  EXPECT_EQ(published, 2);
}

TEST(EventPump, ABurstSharesABlockWhateverStatusesComeBetween) {
  PumpedState pumped;
  VmUpdate status;
  status.status = Status("a", "run-a", VmState::kGuestDown);
  pumped.Push({Update("a", EventType::kStarted), status, Update("a", EventType::kReset), status,
               Stopped("a", "run-a", ShutdownClass::kUser)});
  EXPECT_EQ(pumped.log().Read(1, {.max_bytes = 1 << 20}).blocks.size(), 1);
  EXPECT_EQ(pumped.live_state().FindVm({"a", "run-a", ""})->last_sequence(), 3);
}

EventMatcher MatcherOf(const std::string& filter) {
  return EventMatcher(FromText<v1::EventFilter>(filter));
}

// The sequences of a block that pass.
std::vector<uint64_t> Matched(const EventBlock& block, const std::string& filter) {
  const EventMatcher matcher = MatcherOf(filter);
  size_t steps = 0;
  std::vector<uint64_t> out;
  for (size_t i = 0; i < block.size(); ++i) {
    const EventBlock::Entry entry = block.at(i);
    if (matcher.Matches(entry, block.EncodedView(i), &steps)) out.push_back(entry.sequence);
  }
  return out;
}

TEST(EventMatcher, PassesWhatMatchesEveryList) {
  PumpedState pumped;
  pumped.Push({Update("web1", EventType::kReset), Stopped("web1", "r", ShutdownClass::kCrash),
               Update("db1", EventType::kReset)});
  const EventBlockPtr block = pumped.log().Read(1, {.max_bytes = 1}).blocks[0];
  EXPECT_THAT(Matched(*block, ""), ElementsAre(1, 2, 3));
  EXPECT_THAT(Matched(*block, "vm_names: 'web1'"), ElementsAre(1, 2));
  EXPECT_THAT(Matched(*block, "vm_names: ['web1', 'd?1']"), ElementsAre(1, 2, 3));
  EXPECT_THAT(Matched(*block, "vm_names: ['web1', 'd?1'] types: EVENT_TYPE_STOPPED"),
              ElementsAre(2));
  const std::string types = "types: [EVENT_TYPE_STOPPED, EVENT_TYPE_RESET] ";
  EXPECT_THAT(Matched(*block, types + "vm_names: ['web1', 'd?1'] classes: SHUTDOWN_CLASS_CRASH"),
              ElementsAre(2));
  EXPECT_THAT(Matched(*block, types + "vm_names: 'db1' classes: [SHUTDOWN_CLASS_CRASH, "
                                      "SHUTDOWN_CLASS_USER]"),
              IsEmpty());
}

TEST(EventMatcher, FiltersBySourcesLikeByNames) {
  PumpedState pumped;
  pumped.Push({Update("web1", EventType::kReset),
               UpdateFrom("libvirt:qemu:///system", "web1", EventType::kReset),
               UpdateFrom("libvirt:qemu:///session", "db1", EventType::kReset),
               UpdateFrom("", "web1", EventType::kReset)});
  const EventBlockPtr block = pumped.log().Read(1, {.max_bytes = 1}).blocks[0];
  EXPECT_THAT(Matched(*block, "sources: 'qmp:/run/vms'"), ElementsAre(1));
  EXPECT_FALSE(MatcherOf("sources: 'qmp:/run/vms'").matches_all());
  EXPECT_FALSE(MatcherOf("sources: 'qmp:/run/vms'").has_globs());
  const std::string both = "sources: ['qmp:/run/vms', 'libvirt:*'] ";
  EXPECT_THAT(Matched(*block, both), ElementsAre(1, 2, 3));
  EXPECT_TRUE(MatcherOf(both).has_globs());
  EXPECT_THAT(Matched(*block, both + "vm_names: 'web1'"), ElementsAre(1, 2));
  EXPECT_THAT(Matched(*block, "sources: '*' vm_names: 'web1'"), ElementsAre(1, 2, 4));
}

TEST(EventMatcher, FiltersByUuidLabelsCauseAndRun) {
  const std::string uuid = "550e8400-e29b-41d4-a716-446655440000";
  PumpedState pumped;
  VmUpdate known = Update("web1", EventType::kReset);
  known.status->ref.uuid = uuid;
  known.status->ref.labels = {{"app", "web"}};
  VmUpdate other = Stopped("web1", "r2", ShutdownClass::kUser);
  other.status->ref.uuid = "00000000-e29b-41d4-a716-446655440000";
  other.status->ref.labels = {{"app", "mail"}, {"tier", "db"}};
  pumped.Push({Update("web1", EventType::kReset), known, other});
  const EventBlockPtr block = pumped.log().Read(1, {.max_bytes = 1}).blocks[0];
  EXPECT_THAT(Matched(*block, "uuids: '550E8400-e29b-41D4-a716-446655440000'"), ElementsAre(2));
  const std::string uuids =
      absl::StrCat("uuids: ['", uuid, "', '", std::string(other.status->ref.uuid), "']");
  EXPECT_THAT(Matched(*block, uuids), ElementsAre(2, 3));
  EXPECT_TRUE(MatcherOf(uuids).is_slow());
  EXPECT_THAT(Matched(*block, "labels: 'app=web,!tier'"), ElementsAre(2));
  const std::string labels = "labels: ['app=web,!tier', 'app!=web,tier=db']";
  EXPECT_THAT(Matched(*block, labels), ElementsAre(2, 3));
  EXPECT_TRUE(MatcherOf(labels).is_slow());
  EXPECT_THAT(Matched(*block, "causes: SHUTDOWN_CAUSE_HOST_KILL"), IsEmpty());
  EXPECT_THAT(Matched(*block, "causes: [SHUTDOWN_CAUSE_HOST_KILL, SHUTDOWN_CAUSE_GUEST_POWEROFF]"),
              ElementsAre(3));
  EXPECT_THAT(Matched(*block, "run_ids: 'run-web1'"), ElementsAre(1, 2));
  EXPECT_THAT(Matched(*block, "run_ids: 'run-web1' uuids: '" + uuid + "'"), ElementsAre(2));
}

TEST(EventMatcher, CountsWhatItsSourcesCost) {
  v1::EventFilter filter;
  const size_t empty = EventMatcher(filter).memory();
  filter.add_sources(std::string(1000, 'x'));
  filter.add_sources(std::string(1000, 'x') + "*");
  EXPECT_GT(EventMatcher(filter).memory(), empty + 2000);
  const std::string source(240, 'a');
  const EventBlock::Entry entry = {.vm_name = "web1", .source = source};
  size_t plain_steps = 0;
  EventMatcher().Matches(entry, "", &plain_steps);
  filter.add_sources("*" + std::string(100, 'a') + "b*");
  size_t steps = 0;
  EXPECT_FALSE(EventMatcher(filter).Matches(entry, "", &steps));
  EXPECT_GT(steps, plain_steps + 1000) << "a comparison is charged by the byte";
}

TEST(EventMatcher, AGapOfTheNodePassesEveryFilter) {
  PumpedState pumped;
  VmUpdate gap;
  gap.event = VmEvent();
  gap.event->type = EventType::kGap;
  gap.event->observe_time = At(0);
  pumped.Push({gap});
  const EventBlockPtr block = pumped.log().Read(1, {.max_bytes = 1}).blocks[0];
  EXPECT_THAT(Matched(*block, R"(vm_names: 'web1' sources: 'libvirt:*' types: EVENT_TYPE_STOPPED
                                 uuids: '550e8400-e29b-41d4-a716-446655440000' run_ids: 'r'
                                 classes: SHUTDOWN_CLASS_CRASH causes: SHUTDOWN_CAUSE_HOST_KILL)"),
              ElementsAre(1));
}

}  // namespace
}  // namespace vmeventd
