#include "server/eventlog/live_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/events/event_codec.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
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
  LiveStateOptions options;
  options.ring.max_bytes = 2000;
  PumpedState pumped(options);
  pumped.PushEach("a", 100);
  EXPECT_GT(RingOldest(&pumped), 90);
  EXPECT_LT(RingOldest(&pumped), 100);
  EXPECT_EQ(pumped.live_state().range().oldest, 1) << "the journal has it still";
  options.ring.max_bytes = 1;
  PumpedState tiny(options);
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
  const absl::Status old = CursorOf(live_state, AfterSequence{6, kJournal}).status();
  EXPECT_TRUE(absl::IsOutOfRange(old));
  EXPECT_THAT(std::string(old.message()), HasSubstr("oldest retained sequence is 8"));
  const absl::Status future = CursorOf(live_state, AfterSequence{11, kJournal}).status();
  EXPECT_TRUE(absl::IsOutOfRange(future));
  EXPECT_THAT(std::string(future.message()), HasSubstr("newest sequence, 10"));
  const absl::Status wrapped = CursorOf(live_state, AfterSequence{UINT64_MAX, kJournal}).status();
  EXPECT_TRUE(absl::IsOutOfRange(wrapped));
  const absl::Status other = CursorOf(live_state, AfterSequence{10, "other"}).status();
  EXPECT_TRUE(absl::IsOutOfRange(other));
  EXPECT_THAT(std::string(other.message()), HasSubstr("other"));
  EXPECT_THAT(std::string(other.message()), HasSubstr(kJournal));
}

TEST(LiveState, TheOldestEventComesAlongWithTheCursor) {
  PumpedState pumped(RingOf(3), {.retention_events = 3});
  pumped.PushEach("a", 5);
  const absl::StatusOr<StreamBegin> begin = pumped.live_state().Begin(FromOldest{});
  pumped.PushEach("a", 20);  // neither the ring nor the journal has it now
  ASSERT_TRUE(begin.ok());
  ASSERT_FALSE(begin->blocks.empty());
  EXPECT_EQ(begin->blocks.front()->first_sequence(), begin->cursor + 1);
  EXPECT_EQ(begin->cursor, 2);
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
  LiveStateOptions options;
  options.max_stopped = 2;
  PumpedState pumped(options);
  for (const char* name : {"d", "c", "b", "a"}) {
    pumped.Push({Update(name, EventType::kStarted),
                 Stopped(name, absl::StrCat("run-", name), ShutdownClass::kUser)});
  }
  EXPECT_EQ(pumped.live_state().vm_count(), 0);
  const std::vector<VmRecordPtr> vms = pumped.live_state().ListVmsAfter(nullptr, 10).vms;
  EXPECT_THAT(Names(vms), ElementsAre("a/run-a", "b/run-b"));
  EXPECT_EQ(DecodeSnapshotVmField(vms[0]->encoded()).shutdown().class_(), v1::SHUTDOWN_CLASS_USER);
}

TEST(LiveState, ASnapshotHoldsTheRunningVms) {
  PumpedState pumped;
  pumped.Push({Update("web1", EventType::kStarted), Update("web2", EventType::kStarted),
               Update("db1", EventType::kStarted),
               Stopped("web2", "run-web2", ShutdownClass::kUser)});
  const absl::StatusOr<StreamBegin> begin = pumped.live_state().Begin(FromSnapshot{});
  ASSERT_TRUE(begin.ok());
  EXPECT_EQ(begin->cursor, 4);
  EXPECT_THAT(Names(*begin->snapshot), ElementsAre("db1/run-db1", "web1/run-web1"));
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
  LiveStateOptions options;
  options.max_snapshot_bytes = 10'000'000;  // fewer than ten whole ones take
  const auto pumped = StateOf(9'000, options);
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
  LiveStateOptions options;
  options.max_snapshot_bytes = 100'000;
  const auto pumped = StateOf(1'000, options);
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

// The sequences of a block that pass.
std::vector<uint64_t> Matched(const EventBlock& block, const v1::EventFilter& filter) {
  const EventMatcher matcher(filter);
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
  v1::EventFilter filter;
  EXPECT_THAT(Matched(*block, filter), ElementsAre(1, 2, 3));
  filter.add_vm_names("web1");
  EXPECT_THAT(Matched(*block, filter), ElementsAre(1, 2));
  filter.add_vm_names("d?1");
  EXPECT_THAT(Matched(*block, filter), ElementsAre(1, 2, 3));
  filter.add_types(v1::EVENT_TYPE_STOPPED);
  EXPECT_THAT(Matched(*block, filter), ElementsAre(2));
  filter.add_types(v1::EVENT_TYPE_RESET);
  filter.add_classes(v1::SHUTDOWN_CLASS_CRASH);
  EXPECT_THAT(Matched(*block, filter), ElementsAre(2));
  filter.add_classes(v1::SHUTDOWN_CLASS_USER);
  filter.clear_vm_names();
  filter.add_vm_names("db1");
  EXPECT_THAT(Matched(*block, filter), IsEmpty());
}

TEST(EventMatcher, FiltersBySourcesLikeByNames) {
  PumpedState pumped;
  pumped.Push({Update("web1", EventType::kReset),
               UpdateFrom("libvirt:qemu:///system", "web1", EventType::kReset),
               UpdateFrom("libvirt:qemu:///session", "db1", EventType::kReset),
               UpdateFrom("", "web1", EventType::kReset)});
  const EventBlockPtr block = pumped.log().Read(1, {.max_bytes = 1}).blocks[0];
  v1::EventFilter filter;
  filter.add_sources("qmp:/run/vms");
  EXPECT_THAT(Matched(*block, filter), ElementsAre(1));
  EXPECT_FALSE(EventMatcher(filter).matches_all());
  EXPECT_FALSE(EventMatcher(filter).has_globs());
  filter.add_sources("libvirt:*");
  EXPECT_THAT(Matched(*block, filter), ElementsAre(1, 2, 3));
  EXPECT_TRUE(EventMatcher(filter).has_globs());
  filter.add_vm_names("web1");
  EXPECT_THAT(Matched(*block, filter), ElementsAre(1, 2));
  filter.clear_sources();
  filter.add_sources("*");
  EXPECT_THAT(Matched(*block, filter), ElementsAre(1, 2, 4));
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
  v1::EventFilter uuids;
  uuids.add_uuids("550E8400-e29b-41D4-a716-446655440000");
  EXPECT_THAT(Matched(*block, uuids), ElementsAre(2));
  uuids.add_uuids(std::string(other.status->ref.uuid));
  EXPECT_THAT(Matched(*block, uuids), ElementsAre(2, 3));
  EXPECT_TRUE(EventMatcher(uuids).is_slow());
  v1::EventFilter labels;
  labels.add_labels("app=web,!tier");
  EXPECT_THAT(Matched(*block, labels), ElementsAre(2));
  labels.add_labels("app!=web,tier=db");
  EXPECT_THAT(Matched(*block, labels), ElementsAre(2, 3));
  EXPECT_TRUE(EventMatcher(labels).is_slow());
  v1::EventFilter causes;
  causes.add_causes(v1::SHUTDOWN_CAUSE_HOST_KILL);
  EXPECT_THAT(Matched(*block, causes), IsEmpty());
  causes.add_causes(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF);
  EXPECT_THAT(Matched(*block, causes), ElementsAre(3));
  v1::EventFilter runs;
  runs.add_run_ids("run-web1");
  EXPECT_THAT(Matched(*block, runs), ElementsAre(1, 2));
  runs.add_uuids(uuid);
  EXPECT_THAT(Matched(*block, runs), ElementsAre(2));
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
  v1::EventFilter filter;
  filter.add_vm_names("web1");
  filter.add_sources("libvirt:*");
  filter.add_types(v1::EVENT_TYPE_STOPPED);
  filter.add_classes(v1::SHUTDOWN_CLASS_CRASH);
  size_t steps = 0;
  filter.add_uuids("550e8400-e29b-41d4-a716-446655440000");
  filter.add_causes(v1::SHUTDOWN_CAUSE_HOST_KILL);
  filter.add_run_ids("r");
  const EventBlockPtr block = pumped.log().Read(1, {.max_bytes = 1}).blocks[0];
  EXPECT_TRUE(EventMatcher(filter).Matches(block->at(0), block->EncodedView(0), &steps));
}

}  // namespace
}  // namespace vmeventd
