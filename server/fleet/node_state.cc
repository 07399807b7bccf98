#include "server/fleet/node_state.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/subject.h"
#include "google/protobuf/util/time_util.h"
#include "server/events/event_codec.h"
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

google::protobuf::Duration ToProtoDuration(absl::Duration duration) {
  return google::protobuf::util::TimeUtil::NanosecondsToDuration(
      absl::ToInt64Nanoseconds(duration));
}

}  // namespace

NodeState::NodeState(NodeStateOptions options, FleetSink* sink, Outbox* outbox, const Clock* clock,
                     FleetMeters* meters, std::function<double()> random)
    : options_(std::move(options)),
      sink_(sink),
      outbox_(outbox),
      clock_(clock),
      meters_(meters),
      random_(std::move(random)) {}

void NodeState::OnConnected() {
  const absl::Duration now = clock_->Now().monotonic;
  check_at_ = now;
  // A bucket that failed waits on: the servers come and go more often than permissions change.
  if (vms_bucket_.retry == absl::ZeroDuration()) vms_bucket_.due = now;
  if (nodes_bucket_.retry == absl::ZeroDuration()) nodes_bucket_.due = now;
}

NodeState::Step NodeState::Write(const FleetPosition& published) {
  Step step;
  Use("the nodes' heartbeats", &nodes_bucket_, options_.heartbeat,
      [&] { return WriteHeartbeat(published); });
  Use("the VMs' last states", &vms_bucket_, kScanInterval,
      [&] { return WriteVms(published, &step.written); });
  const absl::Duration now = clock_->Now().monotonic;
  absl::Duration vms_due = vms_bucket_.due;
  const bool changed = pending_ || outbox_->vms_version() != scanned_version_;
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
    bucket->reported.clear();
    bucket->due = now + interval;
    return;
  }
  if (absl::IsCancelled(status)) return;
  meters_->bucket_failures.Add();
  bucket->looked_at = false;
  bucket->retry = std::clamp(bucket->retry * 2, kFirstRetry, kMaxRetry);
  bucket->due = now + bucket->retry * (0.5 + random_() / 2);
  const std::string message(status.message());
  if (message == bucket->reported) return;
  spdlog::warn("cannot write {}: {}; events are published all the same", what, message);
  bucket->reported = message;
}

absl::Status NodeState::OpenVms() {
  const std::string own =
      absl::StrCat(KeySubject(kVmsBucket, NodeBucketKey(options_.cluster, options_.node)), ".>");
  absl::StatusOr<FleetSink::BucketInfo> info =
      sink_->OpenBucket(kVmsBucket, listed_ ? "" : absl::string_view(own));
  if (!info.ok()) return info.status();
  if (!vms_bucket_.created.empty() && vms_bucket_.created != info->created) {
    spdlog::warn("the bucket {} was lost: writing the states of all VMs again",
                 std::string(kVmsBucket));
    written_.clear();
    pending_ = true;
  }
  vms_bucket_.created = info->created;
  vms_bucket_.looked_at = true;
  if (!listed_) {
    unknown_.insert(info->subjects.begin(), info->subjects.end());
    listed_ = true;
    pending_ = true;
  }
  check_at_ = clock_->Now().monotonic + kBucketCheck;
  return absl::OkStatus();
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
  const FleetSink::Progress progress = sink_->Put(kVmsBucket, batch);
  for (size_t i = 0; i < progress.acknowledged; ++i) {
    if (changes[i].record == nullptr) {
      written_.erase(changes[i].name);
    } else {
      written_[changes[i].name] = {changes[i].record, now};
    }
    unknown_.erase(changes[i].message.subject);
  }
  if (!progress.status.ok()) pending_ = true;
  *written = progress.acknowledged;
  meters_->state_writes.Add(progress.acknowledged);
  meters_->state_vms.Set(written_.size());
  return progress.status;
}

std::vector<NodeState::Change> NodeState::Changes(const FleetPosition& published) {
  const absl::Duration now = clock_->Now().monotonic;
  const std::map<std::string, VmRecordPtr> vms = ByName(outbox_->vms());
  std::vector<Change> changes;
  const auto add = [&](const std::string& name, VmRecordPtr record) {
    Change change{name, std::move(record), {}};
    change.message = Message(
        KeySubject(kVmsBucket, VmBucketKey(options_.cluster, options_.node, name)),
        published.journal_id,
        change.record == nullptr ? "" : VmPayload(change.record->encoded(), options_.format));
    if (change.record == nullptr) change.message.headers.emplace_back(kKeyOperationHeader, "DEL");
    changes.push_back(std::move(change));
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
    if (changes.size() == kMaxBatch) {
      pending_ = true;
      return changes;
    }
    add(name, record);
  }
  for (const auto& [name, before] : written_) {
    if (vms.contains(name)) continue;
    if (changes.size() == kMaxBatch) {
      pending_ = true;
      return changes;
    }
    add(name, nullptr);
  }
  AddUnknown(vms, &changes);
  return changes;
}

void NodeState::AddUnknown(const std::map<std::string, VmRecordPtr>& vms,
                           std::vector<Change>* changes) {
  if (unknown_.empty()) return;
  for (const auto& [name, record] : vms) {
    unknown_.erase(KeySubject(kVmsBucket, VmBucketKey(options_.cluster, options_.node, name)));
  }
  size_t looked_at = 0;
  for (auto subject = unknown_.begin(); subject != unknown_.end();) {
    if (looked_at == kMaxLookups || changes->size() == kMaxBatch) {
      pending_ = true;
      return;
    }
    ++looked_at;
    const absl::StatusOr<bool> deleted = sink_->IsDeleted(kVmsBucket, *subject);
    if (!deleted.ok()) {
      // Without an answer the key stays for another time.
      pending_ = true;
      return;
    }
    if (*deleted) {
      subject = unknown_.erase(subject);
      continue;
    }
    Change change;
    change.message = Message(*subject, "", "");
    change.message.headers.emplace_back(kKeyOperationHeader, "DEL");
    changes->push_back(std::move(change));
    ++subject;
  }
}

absl::Status NodeState::WriteHeartbeat(const FleetPosition& published) {
  if (!nodes_bucket_.looked_at) {
    const absl::StatusOr<FleetSink::BucketInfo> info = sink_->OpenBucket(kNodesBucket, "");
    if (!info.ok()) return info.status();
    nodes_bucket_.looked_at = true;
  }
  const FleetSink::Progress progress =
      sink_->Put(kNodesBucket, {Heartbeat(published, options_.heartbeat)});
  if (progress.status.ok()) meters_->heartbeats.Add();
  return progress.status;
}

void NodeState::Leave(const FleetPosition& published) {
  const absl::Status status = sink_->Leave(Heartbeat(published, absl::ZeroDuration()));
  if (!status.ok()) {
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
    *heartbeat.mutable_interval() = ToProtoDuration(interval);
  }
  heartbeat.set_vms(newest.running_vms);
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
