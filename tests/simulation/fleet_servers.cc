#include "tests/simulation/fleet_servers.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/subject.h"
#include "server/fleet/publisher.h"
#include "tests/support/fleet_message.h"

namespace vmeventd::simulation {
namespace {

// As JetStreamSink has it: a server that acknowledges nothing for so long is lost.
constexpr absl::Duration kAckTimeout = absl::Seconds(15);
// What a connection that broke delivers later comes within that; the duplicate window covers it.
constexpr absl::Duration kLatest = absl::Seconds(45);

bool IsValue(const FleetMessage& message) { return absl::StartsWith(message.subject, "$KV."); }

}  // namespace

// What a daemon has instead of JetStreamSink.
class SimulatedSink : public FleetSink {
 public:
  explicit SimulatedSink(FleetServers* servers) : servers_(servers) {}
  ~SimulatedSink() override {
    if (link_ != nullptr) servers_->Break(link_);
  }

  absl::StatusOr<std::optional<FleetTail>> Connect() override;
  absl::StatusOr<std::set<uint64_t>> StoredAfter(const FleetPosition& after, size_t limit) override;
  Progress Publish(const std::vector<FleetMessage>& batch) override {
    if (batch.size() == FleetPublisher::kFirstBatchEvents) {
      servers_->story_->Reach("bound: a batch of the fleet after a connection");
    } else if (batch.size() > FleetPublisher::kFirstBatchEvents) {
      servers_->story_->Reach("bound: a larger batch of the fleet");
    }
    return Send(batch);
  }
  absl::StatusOr<BucketInfo> OpenBucket(absl::string_view bucket,
                                        absl::string_view filter) override;
  absl::StatusOr<bool> IsDeleted(absl::string_view bucket, const std::string& subject) override;
  Progress Put(absl::string_view bucket, const std::vector<FleetMessage>& batch) override;
  absl::Status Leave(const FleetMessage& message) override;
  absl::Status Check() override {
    return link_->broken ? absl::UnavailableError("the connection is lost") : absl::OkStatus();
  }
  void Interrupt() override { interrupted_ = true; }

 private:
  // Why it cannot go on; OK: it can.
  absl::Status Status() const;
  // A question and its answer, between which others go on.
  absl::Status RoundTrip(const char* what);
  Progress Send(const std::vector<FleetMessage>& batch);

  FleetServers* const servers_;
  FleetServers::LinkPtr link_;
  bool interrupted_ = false;
};

FleetServers::FleetServers(Kernel* kernel, Random* random, Story* story, World* world,
                           FleetJudge* judge, Wait wait)
    : kernel_(kernel),
      random_(random),
      story_(story),
      world_(world),
      judge_(judge),
      wait_(std::move(wait)),
      fails_one_in_(random->OneIn(2) ? 12 : 100) {}

std::unique_ptr<FleetSink> FleetServers::NewSink() { return std::make_unique<SimulatedSink>(this); }

void FleetServers::GoAway(absl::Duration how_long) {
  if (settled_) return;
  story_->Say("fleet", absl::StrCat("is away for ", absl::FormatDuration(how_long)));
  story_->Reach("fleet: away");
  away_until_ = std::max(away_until_, now() + how_long);
  if (link_ != nullptr) Break(link_);
}

void FleetServers::DeleteBucket() {
  if (settled_ || !buckets_.contains(std::string(kVmsBucket))) return;
  story_->Say("fleet", "somebody deletes the bucket of the VMs");
  story_->Reach("fleet: a bucket is deleted");
  buckets_.erase(std::string(kVmsBucket));
  std::erase_if(values_, [](const auto& value) {
    return absl::StartsWith(value.first, KeySubject(kVmsBucket, ""));
  });
}

absl::Duration FleetServers::Latency() {
  if (Happens(30)) return random_->Between(absl::Milliseconds(5), absl::Seconds(2));
  return random_->Between(absl::Microseconds(100), absl::Milliseconds(5));
}

void FleetServers::Carry(const LinkPtr& link, const std::vector<FleetMessage>& batch) {
  ++link->batch;
  link->acks.assign(batch.size(), {});
  link->acknowledged = 0;
  absl::Duration at = now() + Latency();
  absl::Duration ack_takes = Latency();
  if (Happens(fails_one_in_)) {
    const bool too_late = random_->OneIn(3);
    story_->Reach(too_late ? "fleet: acknowledgements after the time-out"
                           : "fleet: late acknowledgements");
    ack_takes = too_late ? random_->Between(kAckTimeout, absl::Seconds(60))
                         : random_->Between(absl::Seconds(1), kAckTimeout - absl::Seconds(1));
  }
  // While the leader changes.
  size_t drop_first = batch.size();
  size_t drop_end = batch.size();
  if (batch.size() > 1 && Happens(fails_one_in_)) {
    drop_first = random_->Below(batch.size());
    drop_end = drop_first + 1 + random_->Below(batch.size() - drop_first);
  }
  const bool acks_are_lost = Happens(fails_one_in_);
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!kernel_->Enter("publish to the fleet", "")) break;
    at += absl::Microseconds(random_->Between(0, 50));
    auto message = std::make_shared<Message>(
        Message{link, link->batch, i, batch[i], drop_first <= i && i < drop_end,
                !acks_are_lost || !random_->OneIn(2), ack_takes});
    world_->At(at, [this, message = std::move(message)] { Arrive(message, false); });
  }
  if (Happens(fails_one_in_)) {
    world_->At(now() + random_->Between(absl::ZeroDuration(), (at - now()) * 2 + ack_takes),
               [this, link] { Break(link); });
  }
}

void FleetServers::Break(const LinkPtr& link) {
  if (link->broken) return;
  link->broken = true;
  switch (random_->Below(3)) {
    case 0:
      link->cut_at = now();
      break;
    case 1:  // some of it has reached the server
      link->cut_at = now() + random_->Between(absl::ZeroDuration(), absl::Milliseconds(5));
      break;
    default:
      link->late_by = random_->Between(absl::ZeroDuration(), kLatest);
  }
}

void FleetServers::Arrive(const std::shared_ptr<Message>& message, bool delayed) {
  const LinkPtr& link = message->link;
  const bool value = IsValue(message->message);
  // A value that comes late is lost here: a bucket has no window.
  if (away() || (link->broken && (now() > link->cut_at || (value && !delayed)))) {
    if (!value) story_->Reach("fleet: a connection breaks before the store");
    return;
  }
  if (link->broken && !delayed && link->late_by > absl::ZeroDuration()) {
    world_->At(now() + link->late_by, [this, message] { Arrive(message, true); });
    return;
  }
  if (message->dropped) {
    if (!value) {
      story_->Reach("fleet: a message is dropped");
      judge_->Dropped(message->message.sequence);
    }
    return;
  }
  if (!value && link->broken) {
    story_->Reach(delayed ? "fleet: a message of a dead connection"
                          : "fleet: a connection breaks after the store");
  }
  const Ack ack = Store(message->message, link->broken);
  if (!message->acknowledged) story_->Reach("fleet: an acknowledgement is lost");
  if (link->broken || !message->acknowledged) return;
  world_->At(now() + message->ack_takes, [link, message, ack] {
    if (link->broken || link->batch != message->batch) return;
    if (std::exchange(link->acks[message->index], ack).stream_sequence == 0) ++link->acknowledged;
  });
}

FleetServers::Ack FleetServers::Store(const FleetMessage& message, bool late) {
  if (IsValue(message)) {
    judge_->Put(message);
    values_[message.subject] = message;
    return {++last_stream_sequence_, false};
  }
  const std::string id = HeaderOf(message, kMessageIdHeader);
  auto& [ack, until] = window_[id];
  if (now() < until) {
    story_->Reach("fleet: a repeated message");
    return {ack.stream_sequence, true};
  }
  last_stream_sequence_ += 1 + random_->Below(3);  // other nodes publish too
  until = now() + kStreamDuplicateWindow;
  ack = {last_stream_sequence_, false};
  stream_.push_back({ParseMessageId(id).value_or(FleetMessageId()), last_stream_sequence_,
                     HeaderOf(message, kSentAfterHeader)});
  judge_->Stored(message, late);
  return ack;
}

// The sink

absl::Status SimulatedSink::Status() const {
  if (servers_->kernel_->dead() || servers_->story_->failed()) {
    return absl::UnavailableError("it is over");
  }
  if (interrupted_) return absl::CancelledError("vmeventd is stopping");
  return link_ == nullptr || link_->broken ? absl::UnavailableError("the connection is lost")
                                           : absl::OkStatus();
}

absl::Status SimulatedSink::RoundTrip(const char* what) {
  if (!servers_->kernel_->Enter(what, "")) return absl::UnavailableError("the daemon is dead");
  servers_->wait_(servers_->now() + servers_->Latency(), [this] { return !Status().ok(); });
  return Status();
}

absl::StatusOr<std::optional<FleetTail>> SimulatedSink::Connect() {
  if (link_ != nullptr) servers_->Break(link_);
  link_ = servers_->link_ = std::make_shared<FleetServers::Link>();
  if (absl::Status status = RoundTrip("connect to the fleet"); !status.ok()) return status;
  if (servers_->away()) {
    servers_->Break(link_);
    return absl::UnavailableError("nobody is there");
  }
  if (servers_->Happens(servers_->fails_one_in_)) {
    servers_->story_->Reach("fleet: there is no stream");
    return absl::FailedPreconditionError("there is no stream");
  }
  if (servers_->Happens(servers_->fails_one_in_)) {
    servers_->story_->Reach("fleet: no answer");
    return absl::UnavailableError("no answer");
  }
  std::optional<FleetTail> last;
  if (!servers_->stream_.empty()) {
    const FleetServers::Stored& stored = servers_->stream_.back();
    last = TailOf(stored.id, stored.stream_sequence, stored.sent_after);
  }
  if (absl::Status status = RoundTrip("answer by the fleet"); !status.ok()) return status;
  servers_->story_->Reach("fleet: connected");
  servers_->story_->Say("fleet", absl::StrCat("is connected; the stream ends with ",
                                              last.has_value() ? last->position.sequence : 0));
  return last;
}

absl::StatusOr<std::set<uint64_t>> SimulatedSink::StoredAfter(const FleetPosition& after,
                                                              size_t limit) {
  std::set<uint64_t> found;
  uint64_t next = after.stream_sequence + 1;
  for (size_t searched = 0;; ++searched) {
    if (servers_->random_->OneIn(4)) {
      if (absl::Status status = RoundTrip("answer by the fleet"); !status.ok()) return status;
    }
    const auto stored = std::find_if(
        servers_->stream_.begin(), servers_->stream_.end(),
        [next](const FleetServers::Stored& each) { return each.stream_sequence >= next; });
    if (stored == servers_->stream_.end()) break;
    if (searched == limit) return absl::OutOfRangeError("too many messages of the node");
    if (stored->id.journal_id == after.journal_id && stored->id.sequence > after.sequence) {
      found.insert(stored->id.sequence);
    }
    next = stored->stream_sequence + 1;
  }
  servers_->story_->Say(
      "fleet", absl::StrCat("the stream has ", found.size(), " of those after ", after.sequence));
  if (!found.empty()) servers_->story_->Reach("fleet: what is stored is found");
  return found;
}

FleetSink::Progress SimulatedSink::Send(const std::vector<FleetMessage>& batch) {
  Progress progress{.status = Status()};
  if (!progress.status.ok()) return progress;
  servers_->Carry(link_, batch);
  absl::Duration deadline = servers_->now() + kAckTimeout;
  size_t seen = 0;
  while (link_->acknowledged < batch.size()) {
    servers_->wait_(deadline, [&] { return !Status().ok() || link_->acknowledged != seen; });
    // What has come is read before anything else.
    if (link_->acknowledged != seen) {
      seen = link_->acknowledged;
      deadline = servers_->now() + kAckTimeout;
      if (servers_->kernel_->Enter("acknowledgement by the fleet", "")) continue;
    }
    progress.status = Status();
    if (interrupted_) servers_->story_->Reach("fleet: a stop between send and acknowledgement");
    if (!progress.status.ok()) break;
    if (servers_->now() >= deadline) {
      progress.status = absl::UnavailableError("no acknowledgement came for 15s");
      break;
    }
  }
  for (const FleetServers::Ack& ack : link_->acks) {
    if (ack.stream_sequence == 0) break;
    ++progress.acknowledged;
    progress.stream_sequence = std::max(progress.stream_sequence, ack.stream_sequence);
    if (ack.repeated) ++progress.repeated;
  }
  return progress;
}

absl::StatusOr<FleetSink::BucketInfo> SimulatedSink::OpenBucket(absl::string_view bucket,
                                                                absl::string_view filter) {
  if (absl::Status status = RoundTrip("answer by the fleet"); !status.ok()) return status;
  if (servers_->Happens(servers_->fails_one_in_)) {
    servers_->story_->Reach("fleet: a bucket is not permitted");
    return absl::FailedPreconditionError("not permitted");
  }
  uint64_t& made = servers_->buckets_[std::string(bucket)];
  if (made == 0) made = ++servers_->buckets_made_;
  BucketInfo info{absl::StrCat("made ", made), {}};
  for (const auto& [subject, value] : servers_->values_) {
    if (!filter.empty() && absl::StartsWith(subject, absl::StripSuffix(filter, ">"))) {
      info.subjects.push_back(subject);
    }
  }
  return info;
}

absl::StatusOr<bool> SimulatedSink::IsDeleted(absl::string_view /*bucket*/,
                                              const std::string& subject) {
  if (absl::Status status = RoundTrip("answer by the fleet"); !status.ok()) return status;
  const auto value = servers_->values_.find(subject);
  return value == servers_->values_.end() || value->second.payload.empty();
}

FleetSink::Progress SimulatedSink::Put(absl::string_view bucket,
                                       const std::vector<FleetMessage>& batch) {
  if (!servers_->buckets_.contains(std::string(bucket))) {
    const absl::Status status = RoundTrip("answer by the fleet");
    return {.status = status.ok() ? absl::UnavailableError("no stream takes it") : status};
  }
  return Send(batch);
}

absl::Status SimulatedSink::Leave(const FleetMessage& message) {
  if (link_ == nullptr || link_->broken || servers_->kernel_->dead()) {
    return absl::UnavailableError("there is no connection");
  }
  servers_->Store(message, false);
  return absl::OkStatus();
}

}  // namespace vmeventd::simulation
