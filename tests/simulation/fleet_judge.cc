#include "tests/simulation/fleet_judge.h"

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/subject.h"
#include "server/events/event_codec.h"
#include "tests/support/fleet_message.h"
#include "vmeventd/v1/fleet.pb.h"

namespace vmeventd::simulation {

bool FleetJudge::IsCovered(uint64_t sequence) const {
  if (sequence < begins_ || stored_.contains(sequence) || in_gaps_.contains(sequence)) return true;
  const auto entry = judge_->entries().find(sequence);
  // A GAP comes behind what retention has thinned out: AtEnd looks for it.
  return entry == judge_->entries().end() || entry->second.lost || judge_->MayBeThinned(sequence);
}

std::vector<uint64_t> FleetJudge::EventsOf(uint64_t first, uint64_t last) const {
  std::vector<uint64_t> events;
  const auto& entries = judge_->entries();
  for (auto it = entries.lower_bound(first); it != entries.end() && it->first <= last; ++it) {
    events.push_back(it->first);
  }
  return events;
}

uint64_t FleetJudge::FirstUncovered(uint64_t last) {
  for (const uint64_t each : EventsOf(covered_ + 1, last)) {
    if (!IsCovered(each) && !removed_.contains(each)) return each;
    covered_ = each;
  }
  covered_ = std::max(covered_, last);
  return 0;
}

void FleetJudge::AfterStart(const Daemon& daemon, bool kept) {
  if (daemon.fleet_meters() == nullptr) return;
  position_failures_ = 0;
  const uint64_t position = daemon.fleet_meters()->position.value();
  if (kept && position < position_) {
    story_->Fail("the fleet's position is ", position, " after a restart, and was ", position_);
  }
  if (!kept) {
    position_ = 0;
    // A publisher with neither a position nor a message begins as one that never published.
    if (stored_.empty() && in_gaps_.empty()) begins_ = position + 1;
  }
  seen_ = position;
}

void FleetJudge::AfterTurn(const Daemon& daemon) {
  const FleetMeters& meters = *daemon.fleet_meters();
  const uint64_t position = meters.position.value();
  // A position that no file has is compared with the stream at the connect.
  const uint64_t untold = meters.connected.value() == 0 ? 0 : FirstUncovered(position);
  if (untold != 0) {
    story_->Fail("the fleet's position is ", position, ", and the stream lacks ", untold);
  }
  const bool failed = meters.position_failures.value() != position_failures_;
  if (position != seen_ && !failed) position_ = position;
  seen_ = position;
  position_failures_ = meters.position_failures.value();
}

void FleetJudge::Stored(const FleetMessage& message, uint64_t place, bool late) {
  const std::optional<FleetMessageId> id = ParseMessageId(HeaderOf(message, kMessageIdHeader));
  v1::Event event;
  if (!id.has_value() || !event.ParseFromString(message.payload) ||
      id->sequence != event.sequence() || id->journal_id != judge_->journal_id()) {
    return story_->Fail("the fleet got what is no event: ", message.subject);
  }
  // The journal's own ones have a sequence of their own, but for what retention has thinned out.
  if (event.has_missing() && event.missing().last() == event.sequence()) {
    messages_.push_back({place, event.missing().first(), event.missing().last(), true});
    if (event.sequence() <= judge_->thinned() &&
        !absl::StrContains(event.message(), "not in the fleet's stream")) {
      story_->Reach("fleet: a GAP for what retention has thinned out");
      for (const uint64_t each : EventsOf(event.missing().first(), event.missing().last())) {
        in_gaps_.insert(each);
      }
      return;
    }
    StoredGap(event);
  } else {
    messages_.push_back({place, event.sequence(), event.sequence(), false});
    StoredEvent(event, late);
  }
}

void FleetJudge::LoseAfter(uint64_t place) {
  for (; !messages_.empty() && messages_.back().place > place; messages_.pop_back()) {
    for (const uint64_t each : EventsOf(messages_.back().first, messages_.back().last)) {
      // An earlier message may be what a GAP names among others.
      if (messages_.back().is_gap && stored_.contains(each)) continue;
      stored_.erase(each);
      in_gaps_.erase(each);
      late_.erase(each);
      removed_.insert(each);
      dropped_.insert(each);
    }
  }
  // A late message of what an earlier GAP names is gone, and the GAP is not.
  for (const Coverage& message : messages_) {
    if (!message.is_gap) continue;
    for (const uint64_t each : EventsOf(message.first, message.last)) in_gaps_.insert(each);
  }
  // The position's file may say more than the stream has, or what the daemon has gone back to.
  position_ = 0;
}

void FleetJudge::StoredGap(const v1::Event& event) {
  story_->Reach("fleet: GAP");
  story_->Say("fleet", "stores the GAP ", event.missing().first(), " to ", event.missing().last());
  for (const uint64_t each : EventsOf(event.missing().first(), event.missing().last())) {
    const auto entry = judge_->entries().find(each);
    if (entry != judge_->entries().end() && !entry->second.lost && each >= judge_->oldest() &&
        !unfit_.contains(each)) {
      story_->Fail("a GAP of the fleet names the event ", each, ", which the journal has");
    }
    // Events that a dead connection delivered since this one looked are there all the same.
    if (stored_.contains(each) && !late_.contains(each)) {
      story_->Fail("a GAP of the fleet names the event ", each, ", which the stream has");
    }
    in_gaps_.insert(each);
  }
}

void FleetJudge::StoredEvent(const v1::Event& event, bool late) {
  const uint64_t sequence = event.sequence();
  story_->Say("fleet", "stores the event ", sequence, late ? " of a connection that is dead" : "");
  if (stored_.contains(sequence)) {
    return story_->Fail("the event ", sequence, " is twice in the fleet's stream");
  }
  const auto entry = judge_->entries().find(sequence);
  if (entry == judge_->entries().end() || entry->second.content != Judge::ContentOf(event) ||
      !event.durable()) {
    return story_->Fail("the fleet got another event ", sequence, ": ", event.ShortDebugString());
  }
  if (const uint64_t untold = FirstUncovered(sequence - 1); untold != 0) {
    for (const uint64_t each : EventsOf(untold, sequence - 1)) {
      if (IsCovered(each) || dropped_.contains(each)) continue;
      return story_->Fail("the fleet's stream has the event ", sequence, " before ", each);
    }
  }
  if (!stored_.empty() && *stored_.rbegin() > sequence) {
    story_->Reach("fleet: an event behind later ones");
    // Events that a GAP has named may still be on their way, on a connection that broke.
    if (!dropped_.contains(sequence) && !(late && in_gaps_.contains(sequence))) {
      story_->Fail("the fleet's stream has the event ", sequence, " behind ", *stored_.rbegin());
    }
  }
  stored_.insert(sequence);
  if (late) late_.insert(sequence);
}

void FleetJudge::Put(const FleetMessage& message) {
  if (!absl::StartsWith(message.subject, KeySubject(kVmsBucket, ""))) return;
  v1::Vm vm;
  if (message.payload.empty()) return;  // deleted
  if (!vm.ParseFromString(message.payload)) {
    return story_->Fail("a bucket got what is no VM: ", message.subject);
  }
  if (const uint64_t untold = FirstUncovered(vm.last_sequence()); untold != 0) {
    story_->Fail("the state of ", vm.ref().name(), " is as of ", vm.last_sequence(),
                 ", and the fleet's stream lacks ", untold);
  }
}

void FleetJudge::AtEnd(const Daemon& daemon,
                       const std::map<std::string, FleetMessage>& values) const {
  if (daemon.fleet_meters() == nullptr) return;
  for (const auto& [sequence, entry] : judge_->entries()) {
    const bool is_there = stored_.contains(sequence) || in_gaps_.contains(sequence);
    if (!IsCovered(sequence) || (!is_there && !entry.lost && sequence >= begins_)) {
      return story_->Fail("the event ", sequence, " is not in the fleet's stream");
    }
    if (entry.lost && stored_.contains(sequence)) {
      return story_->Fail("the event ", sequence,
                          " is in the fleet's stream, and the journal lost it");
    }
  }
  if (states_) CheckStates(daemon, values);
}

void FleetJudge::CheckStates(const Daemon& daemon,
                             const std::map<std::string, FleetMessage>& values) const {
  std::map<std::string, VmRecordPtr> newest;  // keyed by subject
  for (const VmRecordPtr& vm : daemon.log().Vms(nullptr, 100'000).vms) {
    VmRecordPtr& at = newest[KeySubject(kVmsBucket, VmBucketKey(kCluster, kNode, vm->name()))];
    if (at == nullptr || vm->last_sequence() > at->last_sequence()) at = vm;
  }
  for (const auto& [subject, vm] : newest) {
    const auto value = values.find(subject);
    if (value == values.end()) {
      return story_->Fail("the bucket has no state of ", std::string(vm->name()));
    }
    const v1::Vm is = DecodeSnapshotVmField(vm->encoded());
    if (value->second.payload != is.SerializeAsString()) {
      v1::Vm has;
      has.ParseFromString(value->second.payload);
      return story_->Fail("the bucket has ", has.ShortDebugString(), " instead of ",
                          is.ShortDebugString());
    }
  }
  for (const auto& [subject, value] : values) {
    if (absl::StartsWith(subject, KeySubject(kVmsBucket, "")) && !value.payload.empty() &&
        !newest.contains(subject)) {
      story_->Fail("the bucket has a VM that nobody knows: ", subject);
    }
  }
  v1::NodeHeartbeat heartbeat;
  const auto last = values.find(KeySubject(kNodesBucket, NodeBucketKey(kCluster, kNode)));
  if (last == values.end() || !heartbeat.ParseFromString(last->second.payload)) {
    return story_->Fail("the node has no heartbeat");
  }
  if (heartbeat.published_sequence() != heartbeat.newest_sequence() ||
      heartbeat.newest_sequence() != judge_->newest()) {
    story_->Fail("the heartbeat says ", heartbeat.ShortDebugString());
  }
}

}  // namespace vmeventd::simulation
