#include "server/fleet/node_state.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/nats/subject.h"
#include "google/protobuf/util/time_util.h"
#include "server/events/event_codec.h"
#include "server/fleet/stored_messages.h"
#include "spdlog/spdlog.h"
#include "vmeventd/v1/fleet.pb.h"

namespace vmeventd {
namespace {

// Chooses of two runs with one name the one that runs, or else the one with the newest event.
bool IsNewer(const VmRecord& a, const VmRecord& b) {
  if (a.stopped() != b.stopped()) return b.stopped();
  return a.last_sequence() > b.last_sequence();
}

std::map<std::string, VmRecordPtr> ByName(const std::vector<VmRecordPtr>& records) {
  std::map<std::string, VmRecordPtr> vms;
  for (const VmRecordPtr& record : records) {
    VmRecordPtr& vm = vms[std::string(record->name())];
    if (vm == nullptr || IsNewer(*record, *vm)) vm = record;
  }
  return vms;
}

}  // namespace

absl::Duration NextLook(const FleetMeters& meters, double random) {
  const absl::Duration interval = std::clamp(kLookANode * static_cast<double>(meters.nodes.value()),
                                             kLookInterval, kMaxLookInterval);
  return interval * (0.5 + random / 2);
}

NodeState::NodeState(PublisherOptions options, FleetSink* sink, Outbox* outbox, const Clock* clock,
                     FleetMeters* meters, PublishingProblems* problems,
                     std::function<double()> random)
    : options_(std::move(options)),
      sink_(sink),
      outbox_(outbox),
      clock_(clock),
      meters_(meters),
      problems_(problems),
      random_(std::move(random)) {}

void NodeState::OnConnected() {
  const absl::Duration now = clock_->Now().monotonic;
  if (check_at_ <= now) check_at_ = now + NextLook(*meters_, random_());
  // A bucket that failed waits on: the servers come and go more often than permissions change.
  if (vms_bucket_.retry == absl::ZeroDuration()) vms_bucket_.due = now;
  if (nodes_bucket_.retry == absl::ZeroDuration()) nodes_bucket_.due = now;
}

NodeState::Step NodeState::Write(const FleetPosition& published) {
  Step step;
  const absl::Time begin = clock_->Now().wall;
  if (behind_ && outbox_->newest().sequence == published.sequence) {
    // The node has caught up; readers should not see for a whole interval that it lags behind.
    nodes_bucket_.due = std::min(nodes_bucket_.due, heartbeat_at_ + kScanInterval);
  }
  Use("the nodes' heartbeats", &nodes_bucket_, options_.heartbeat,
      [&] { return WriteHeartbeat(published); });
  Use("the VMs' last states", &vms_bucket_, kScanInterval,
      [&] { return WriteVms(published, &step.written); });
  const absl::Duration now = clock_->Now().monotonic;
  absl::Duration vms_due = vms_bucket_.due;
  const bool changed = pending_ || outbox_->vms_version() != scanned_version_;
  if (vms_bucket_.looked_at && !changed) complete_ = begin;
  if (vms_bucket_.retry == absl::ZeroDuration() && !changed) {
    vms_due = std::max(vms_due, std::min(check_at_, refresh_at_));
  }
  step.next = std::max(std::min(nodes_bucket_.due, vms_due) - now, absl::ZeroDuration());
  return step;
}

void NodeState::Use(const char* what, Bucket* bucket, absl::Duration interval,
                    const std::function<absl::Status()>& use) {
  if (clock_->Now().monotonic < bucket->due) return;
  const absl::Status status = use();
  const absl::Duration now = clock_->Now().monotonic;
  if (status.ok()) {
    bucket->retry = absl::ZeroDuration();
    problems_->Set(bucket->problem, "");
    bucket->due = now + interval;
    return;
  }
  if (absl::IsCancelled(status)) return;
  meters_->bucket_failures.Add();
  bucket->looked_at = false;
  // The one VM whose state is too large holds up no other's for long.
  bucket->retry = absl::IsInvalidArgument(status)
                      ? kFirstRetry
                      : NextPause(bucket->retry, kFirstRetry, kMaxRetry);
  bucket->due = now + bucket->retry * (0.5 + random_() / 2);
  const std::string problem = absl::StrCat("cannot write ", what, ": ", status.message());
  if (problems_->Set(bucket->problem, problem)) {
    spdlog::warn("{}; events are published all the same", problem);
  }
}

absl::Status NodeState::OpenVms() {
  const absl::StatusOr<FleetSink::Log> bucket = sink_->Look(FleetSink::Where::kVms);
  if (!bucket.ok()) return bucket.status();
  std::map<std::string, uint64_t> later;
  uint64_t read_to = UINT64_MAX;
  // Of what was read before, all that was not as it was written is known.
  const uint64_t begin = std::max(verified_place_, std::exchange(read_to_, 0));
  if (verified_place_ > 0) {
    const auto known = sink_->At(FleetSink::Where::kVms, {verified_place_});
    if (!known.ok()) return known.status();
    const std::string own =
        KeySubject(kVmsBucket, NodeBucketKey(options_.cluster, options_.node) + ".");
    if (const FleetSink::Stored& is = known->front();
        is.has_value() && absl::StartsWith(is->subject, own)) {
      later[is->subject] = verified_place_;
    }
    const absl::StatusOr<uint64_t> read =
        ReadStored(sink_, FleetSink::Where::kVms, begin + 1, bucket->last, kMaxLater,
                   [&later](const FleetStored& found) {
                     uint64_t& place = later[found.subject];
                     place = std::max(place, found.position.stream_sequence);
                   });
    if (!read.ok()) return read.status();
    if (*read < bucket->last) {
      read_to = *read;
    } else {
      read_to_ = bucket->last;
    }
  }
  TakeLosses(*bucket, later, read_to);
  vms_bucket_.created = bucket->id;
  vms_bucket_.looked_at = true;
  if (!listed_) {
    unknown_ = bucket->keys;
    for (const std::string& key : bucket->keys) places_.emplace(key, std::nullopt);
    listed_ = true;
    pending_ = true;
  }
  check_at_ = clock_->Now().monotonic + NextLook(*meters_, random_());
  return absl::OkStatus();
}

void NodeState::TakeLosses(const FleetSink::Log& bucket,
                           const std::map<std::string, uint64_t>& later, uint64_t read_to) {
  bool all = !vms_bucket_.created.empty() && vms_bucket_.created != bucket.id;
  std::set<std::string> changed;  // by others, or by what a slow connection delivered late
  for (const auto& [key, place] : later) {
    const auto known = places_.find(key);
    if (known == places_.end() || known->second != place) changed.insert(key);
  }
  for (const auto& [key, place] : places_) {
    // What was stored and has no message any more was purged, or the bucket is an older one.
    if (verified_place_ > 0 && place.has_value() && *place >= verified_place_ &&
        *place <= read_to && bucket.keys.contains(key) && !later.contains(key)) {
      all = true;
    }
  }
  size_t lost = all ? written_.size() : 0;
  if (all) {
    written_.clear();
    places_.clear();
    for (const std::string& key : bucket.keys) places_.emplace(key, std::nullopt);
  } else {
    std::erase_if(places_, [&](const auto& place) { return !bucket.keys.contains(place.first); });
    for (const std::string& key : changed) places_[key] = std::nullopt;
    lost = std::erase_if(written_, [&](const auto& written) {
      const std::string key = KeyOf(written.first);
      return !bucket.keys.contains(key) || changed.contains(key);
    });
    // A key of a VM that is not known may have been deleted by a message that is gone.
    unknown_.insert(changed.begin(), changed.end());
  }
  // Everything up to the last of what is known is as it was written.
  verified_place_ = 0;
  for (const auto& [key, place] : places_) {
    verified_place_ = std::max(verified_place_, std::min(place.value_or(0), read_to));
  }
  if (!unknown_.empty()) pending_ = true;
  if (lost == 0) return;
  spdlog::warn("the bucket {} was changed by others: writing the states of {} VMs again",
               std::string(kVmsBucket), lost);
  pending_ = true;
}

std::string NodeState::KeyOf(const std::string& vm) const {
  return KeySubject(kVmsBucket, VmBucketKey(options_.cluster, options_.node, vm));
}

absl::Status NodeState::WriteVms(const FleetPosition& published, size_t* written) {
  const absl::Duration now = clock_->Now().monotonic;
  if (!vms_bucket_.looked_at || now >= check_at_) {
    if (absl::Status status = OpenVms(); !status.ok()) return status;
  }
  const uint64_t version = outbox_->vms_version();
  if (version == scanned_version_ && !pending_ && now < refresh_at_) return absl::OkStatus();
  scanned_version_ = version;
  pending_ = false;
  refresh_at_ = now + kRefresh / 24;
  const std::vector<Change> changes = Changes(published);
  if (changes.empty()) return absl::OkStatus();
  std::vector<FleetMessage> batch;
  batch.reserve(changes.size());
  for (const Change& change : changes) batch.push_back(change.message);
  const FleetSink::Answers answers = sink_->Send(FleetSink::Where::kVms, batch);
  for (size_t i = 0; i < changes.size(); ++i) {
    TakeAnswer(changes[i], answers.each[i], now);
    if (answers.each[i].kind == FleetSink::Answer::kStored) ++*written;
  }
  if (!answers.status.ok()) pending_ = true;
  DeleteUnfit(changes, answers);
  meters_->state_writes.Add(*written);
  meters_->state_vms.Set(written_.size());
  if (answers.has(FleetSink::Answer::kNone) || answers.has(FleetSink::Answer::kRefused)) {
    return answers.status;
  }
  if (!answers.has(FleetSink::Answer::kUnfit)) return absl::OkStatus();
  return absl::InvalidArgumentError(answers.status.message());
}

void NodeState::DeleteUnfit(const std::vector<Change>& changes, const FleetSink::Answers& answers) {
  std::vector<Change> deletions;
  std::vector<FleetMessage> batch;
  for (size_t i = 0; i < changes.size(); ++i) {
    const Change& change = changes[i];
    if (answers.each[i].kind != FleetSink::Answer::kUnfit || change.record == nullptr) continue;
    if (!written_.contains(change.name) && change.message.replaces.has_value()) continue;
    batch.push_back(change.message);
    batch.back().payload.clear();
    deletions.push_back({change.name, nullptr, batch.back()});
  }
  if (batch.empty()) return;
  const FleetSink::Answers deleted = sink_->Send(FleetSink::Where::kVms, batch);
  const absl::Duration now = clock_->Now().monotonic;
  for (size_t i = 0; i < batch.size(); ++i) TakeAnswer(deletions[i], deleted.each[i], now);
}

void NodeState::TakeAnswer(const Change& change, const FleetSink::Answer& answer,
                           absl::Duration now) {
  const std::string& subject = change.message.subject;
  if (answer.kind != FleetSink::Answer::kStored) {
    // It may be stored all the same, or another message is: the next one replaces whatever is.
    if (answer.kind == FleetSink::Answer::kOutdated) places_[subject] = std::nullopt;
    return;
  }
  places_[subject] = answer.place;
  if (verified_place_ == 0) verified_place_ = answer.place;
  if (change.record == nullptr) {
    written_.erase(change.name);
  } else {
    written_[change.name] = {change.record, now};
  }
  unknown_.erase(subject);
}

std::vector<NodeState::Change> NodeState::Changes(const FleetPosition& published) {
  const absl::Duration now = clock_->Now().monotonic;
  const std::map<std::string, VmRecordPtr> vms = ByName(outbox_->vms());
  std::vector<Change> changes;
  // False: the batch is full.
  const auto add = [&](const std::string& name, VmRecordPtr record) {
    if (changes.size() == kMaxBatch) {
      pending_ = true;
      return false;
    }
    Change change{name, std::move(record), {}};
    change.message = Message(
        KeyOf(name), published.journal_id,
        change.record == nullptr ? "" : VmPayload(change.record->encoded(), options_.format));
    const auto place = places_.find(change.message.subject);
    change.message.replaces = place == places_.end() ? uint64_t{0} : place->second;
    changes.push_back(std::move(change));
    return true;
  };
  for (const auto& [name, record] : vms) {
    // Its newest event is not in the stream yet.
    if (record->last_sequence() > published.sequence) {
      pending_ = true;
      continue;
    }
    const auto before = written_.find(name);
    if (before != written_.end() && now - before->second.at < kRefresh &&
        before->second.record->encoded() == record->encoded()) {
      before->second.record = record;
      continue;
    }
    if (!add(name, record)) return changes;
  }
  for (const auto& [name, before] : written_) {
    if (!vms.contains(name) && !add(name, nullptr)) return changes;
  }
  AddUnknown(vms, &changes);
  return changes;
}

void NodeState::AddUnknown(const std::map<std::string, VmRecordPtr>& vms,
                           std::vector<Change>* changes) {
  if (unknown_.empty()) return;
  for (const auto& [name, record] : vms) {
    unknown_.erase(KeyOf(name));
  }
  const size_t most = std::min({unknown_.size(), kMaxLookups, kMaxBatch - changes->size()});
  const std::vector<std::string> asked(unknown_.begin(),
                                       std::next(unknown_.begin(), static_cast<ptrdiff_t>(most)));
  if (asked.size() < unknown_.size()) pending_ = true;
  const auto values = sink_->Last(FleetSink::Where::kVms, asked);
  if (!values.ok()) {
    // Without an answer the keys stay for another time.
    pending_ = true;
    return;
  }
  for (size_t i = 0; i < asked.size(); ++i) {
    const FleetSink::Stored& value = (*values)[i];
    if (!value.has_value() || value->deleted) {
      unknown_.erase(asked[i]);
    } else {
      changes->push_back({"", nullptr, Message(asked[i], "", "")});
    }
  }
}

absl::Status NodeState::WriteHeartbeat(const FleetPosition& published) {
  if (const absl::Duration now = clock_->Now().monotonic;
      !nodes_bucket_.looked_at || now >= count_at_) {
    const absl::StatusOr<FleetSink::Log> bucket = sink_->Look(FleetSink::Where::kNodes);
    if (!bucket.ok()) return bucket.status();
    meters_->nodes.Set(bucket->size);
    nodes_bucket_.looked_at = true;
    count_at_ = now + NextLook(*meters_, random_());
  }
  const bool behind = outbox_->newest().sequence > published.sequence;
  FleetMessage message = Heartbeat(published, options_.heartbeat);
  message.replaces = heartbeat_place_;
  FleetSink::Answers answers = sink_->Send(FleetSink::Where::kNodes, {message});
  if (answers.each[0].kind == FleetSink::Answer::kOutdated) {
    const auto found = sink_->Last(FleetSink::Where::kNodes, {message.subject});
    const FleetSink::Stored value = found.ok() ? found->front() : std::nullopt;
    const std::string other = value.has_value() ? value->position.journal_id : "";
    if (!other.empty() && other != published.journal_id &&
        problems_->SetOtherNode(other, clock_->Now().wall)) {
      meters_->name_conflicts.Add();
      spdlog::error(
          "another vmeventd publishes as {}/{} (its journal is {}): give one of them another name "
          "by --node",
          options_.cluster, options_.node, other);
    }
    message.replaces.reset();
    answers = sink_->Send(FleetSink::Where::kNodes, {message});
  }
  heartbeat_place_.reset();
  if (!answers.status.ok()) return answers.status;
  heartbeat_place_ = answers.each[0].place;
  heartbeat_at_ = clock_->Now().monotonic;
  behind_ = behind;
  meters_->heartbeats.Add();
  return absl::OkStatus();
}

void NodeState::Leave(const FleetPosition& published) {
  const absl::Status status =
      sink_->Send(FleetSink::Where::kNodes, {Heartbeat(published, absl::ZeroDuration())}).status;
  if (!status.ok() && !absl::IsCancelled(status)) {
    spdlog::info("the last heartbeat could not be sent: {}", std::string(status.message()));
  }
}

FleetMessage NodeState::Heartbeat(const FleetPosition& published, absl::Duration interval) const {
  const Outbox::Newest newest = outbox_->newest();
  v1::NodeHeartbeat heartbeat;
  heartbeat.set_cluster(options_.cluster);
  heartbeat.set_node(options_.node);
  heartbeat.set_version(options_.version);
  heartbeat.set_journal_id(published.journal_id);
  heartbeat.set_newest_sequence(newest.sequence);
  heartbeat.set_published_sequence(published.sequence);
  *heartbeat.mutable_time() = ToTimestamp(clock_->Now().wall);
  if (newest.time.has_value()) {
    *heartbeat.mutable_newest_event_time() = ToTimestamp(*newest.time);
  }
  if (interval > absl::ZeroDuration()) {
    *heartbeat.mutable_interval() =
        google::protobuf::util::TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(interval));
  }
  heartbeat.set_vms(newest.running_vms);
  if (complete_.has_value()) *heartbeat.mutable_states_time() = ToTimestamp(*complete_);
  return Message(KeySubject(kNodesBucket, NodeBucketKey(options_.cluster, options_.node)),
                 published.journal_id, PayloadOf(heartbeat, options_.format));
}

FleetMessage NodeState::Message(std::string subject, const std::string& journal_id,
                                std::string payload) const {
  FleetMessage message;
  message.subject = std::move(subject);
  message.headers = ValueHeaders({options_.cluster, options_.node, journal_id}, options_.format);
  message.payload = std::move(payload);
  return message;
}

}  // namespace vmeventd
