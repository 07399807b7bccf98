#include "tests/simulation/fleet_servers.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/subject.h"
#include "server/fleet/publisher.h"
#include "tests/support/fleet_message.h"

namespace vmeventd::simulation {
namespace {

// JetStreamSink's timeouts: a server that acknowledges nothing for so long is lost.
constexpr absl::Duration kAckTimeout = absl::Seconds(15);
constexpr absl::Duration kTableTimeout = absl::Seconds(2);
// Limit of the delay with which a broken connection delivers; the duplicate window covers it.
constexpr absl::Duration kLatest = absl::Seconds(45);

bool IsValue(const FleetMessage& message) { return absl::StartsWith(message.subject, "$KV."); }

}  // namespace

// A daemon's sink, in place of JetStreamSink.
class SimulatedSink : public FleetSink {
 public:
  explicit SimulatedSink(FleetServers* servers) : servers_(servers) {}
  ~SimulatedSink() override {
    if (link_ != nullptr) servers_->Break(link_);
  }

  absl::StatusOr<Log> Look(Where where) override;
  absl::StatusOr<std::vector<Stored>> At(Where where, const std::vector<uint64_t>& places) override;
  absl::StatusOr<std::vector<Stored>> Next(Where where,
                                           const std::vector<uint64_t>& places) override;
  absl::StatusOr<std::vector<Stored>> Last(Where where,
                                           const std::vector<std::string>& subjects) override;
  Answers Send(Where where, const std::vector<FleetMessage>& batch) override;
  void Interrupt() override { interrupted_ = true; }

 private:
  // Reason why it cannot go on; OK: it can.
  absl::Status Status() const;
  // A question and its answer, between which others go on.
  absl::Status RoundTrip(const char* what);
  absl::Status Open();
  absl::StatusOr<Log> LookAtBucket(Where where);
  Answers Carry(const std::vector<FleetMessage>& batch, absl::Duration timeout);

  FleetServers* const servers_;
  FleetServers::LinkPtr link_;
  bool interrupted_ = false;
  bool in_doubt_ = false;
};

std::string BucketOf(FleetSink::Where where) {
  return std::string(where == FleetSink::Where::kVms ? kVmsBucket : kNodesBucket);
}

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
  story_->Say("fleet", "is away for ", absl::FormatDuration(how_long));
  story_->Reach("fleet: away");
  away_until_ = std::max(away_until_, now() + how_long);
  if (link_ != nullptr) Break(link_);
}

void FleetServers::LoseBucket() {
  if (settled_ || !buckets_.contains(std::string(kVmsBucket))) return;
  if (random_->OneIn(2)) {
    story_->Say("fleet", "somebody deletes the bucket of the VMs");
    story_->Reach("fleet: a bucket is deleted");
    buckets_.erase(std::string(kVmsBucket));
  } else {
    story_->Say("fleet", "somebody purges the bucket of the VMs");
    story_->Reach("fleet: a bucket is purged");
  }
  const auto is_vm = [](const auto& each) {
    return absl::StartsWith(each.first, KeySubject(kVmsBucket, ""));
  };
  std::erase_if(values_, is_vm);
  std::erase_if(places_, is_vm);
}

void FleetServers::LoseStream() {
  if (settled_) return;
  size_t kept = 0;
  if (random_->OneIn(2)) {
    story_->Say("fleet", "somebody deletes the stream and makes it again");
    story_->Reach("fleet: another stream");
    ++streams_made_;
  } else {
    kept = random_->Below(stream_.size() + 1);
    story_->Say("fleet", "somebody restores the stream with ", kept, " messages");
    story_->Reach("fleet: a restored stream");
    if (link_ != nullptr) Break(link_);
  }
  stream_.resize(kept);
  last_stream_sequence_ = kept == 0 ? 0 : stream_.back().position.stream_sequence;
  std::erase_if(window_, [this](const auto& seen) {
    return seen.second.first.place > last_stream_sequence_;
  });
  judge_->LoseAfter(last_stream_sequence_);
  // The other nodes publish theirs before this one has noticed.
  if (random_->OneIn(2)) last_stream_sequence_ += random_->Below(100);
  if (random_->OneIn(4)) {
    story_->Reach("fleet: another node of this name in a stream that lost events");
    PublishAsOther();
  }
}

void FleetServers::PublishAsOther() {
  if (settled_) return;
  story_->Reach("fleet: another node of this name");
  for (uint64_t left = 1 + random_->Below(3); left > 0; --left) {
    last_stream_sequence_ += 1 + random_->Below(3);
    stream_.push_back(ToStored({"another-journal", last_stream_sequence_}, last_stream_sequence_,
                               LogId(), "", ""));
  }
}

FleetSink::Stored FleetServers::ValueAt(const std::string& subject) const {
  const auto value = values_.find(subject);
  if (value == values_.end()) return std::nullopt;
  return FleetStored{.position = {JournalOfSource(HeaderOf(value->second, "ce-source")), 0,
                                  places_.at(subject), ""},
                     .subject = subject,
                     .deleted = value->second.payload.empty()};
}

FleetSink::Stored FleetServers::FirstFrom(bool events, uint64_t place) const {
  if (events) {
    const auto next = std::lower_bound(stream_.begin(), stream_.end(), place,
                                       [](const FleetStored& stored, uint64_t at) {
                                         return stored.position.stream_sequence < at;
                                       });
    return next == stream_.end() ? std::nullopt : FleetSink::Stored(*next);
  }
  FleetSink::Stored first;
  for (const auto& [subject, at] : places_) {
    if (!absl::StartsWith(subject, KeySubject(kVmsBucket, "")) || at < place) continue;
    if (!first.has_value() || at < first->position.stream_sequence) first = ValueAt(subject);
  }
  return first;
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
  // The leader changes: some messages of the batch are dropped.
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
  if (away() || (link->broken && now() > link->cut_at)) {
    if (!value) story_->Reach("fleet: a connection breaks before the store");
    return;
  }
  if (link->broken && !delayed && link->late_by > absl::ZeroDuration()) {
    world_->At(now() + link->late_by, [this, message] { Arrive(message, true); });
    return;
  }
  if (message->dropped) {
    if (!value) {
      story_->Say("fleet", "drops the message ", message->message.sequence);
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
    if (std::exchange(link->acks[message->index], ack).kind == Ack::kNone) ++link->acknowledged;
  });
}

FleetServers::Ack FleetServers::Store(const FleetMessage& message, bool late) {
  if (IsValue(message)) {
    const auto place = places_.find(message.subject);
    if (message.replaces.has_value() &&
        *message.replaces != (place == places_.end() ? 0 : place->second)) {
      story_->Reach(late ? "fleet: a late value is refused" : "fleet: a value is refused");
      return {.kind = Ack::kOutdated};
    }
    if (late) story_->Reach("fleet: a late value");
    judge_->Put(message);
    values_[message.subject] = message;
    places_[message.subject] = ++last_place_;
    return {Ack::kStored, last_place_, false};
  }
  const std::string id = HeaderOf(message, kMessageIdHeader);
  // A GAP is small, and fits.
  if (!absl::EndsWith(message.subject, ".gap")) {
    if (Happens(fails_one_in_ * 40)) unfit_.insert(id);
    if (unfit_.contains(id)) {
      story_->Reach("fleet: an event that does not fit");
      story_->Say("fleet", "does not take the event ", message.sequence);
      judge_->Unfit(message.sequence);
      return {.kind = Ack::kUnfit};
    }
  }
  if (Happens(fails_one_in_ * 10)) {
    story_->Say("fleet", "refuses the event ", message.sequence, " for now");
    story_->Reach("fleet: a refusal");
    judge_->Dropped(message.sequence);
    return {.kind = Ack::kRefused};
  }
  auto& [ack, until] = window_[id];
  if (now() < until) {
    story_->Reach("fleet: a repeated message");
    story_->Say("fleet", "has the message of ", message.sequence, " already");
    return {Ack::kStored, ack.place, true};
  }
  if (HeaderOf(message, kSentToHeader) != LogId()) {
    story_->Reach("fleet: a message for another stream");
  }
  last_stream_sequence_ += 1 + random_->Below(3);  // other nodes publish too
  until = now() + kStreamDuplicateWindow;
  ack = {Ack::kStored, last_stream_sequence_, false};
  stream_.push_back(ToStored(ParseMessageId(id).value_or(FleetMessageId()), last_stream_sequence_,
                             LogId(), HeaderOf(message, kSentAfterHeader),
                             HeaderOf(message, kSentToHeader)));
  judge_->Stored(message, last_stream_sequence_, late);
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

absl::Status SimulatedSink::Open() {
  if (link_ != nullptr && !link_->broken && !in_doubt_) return absl::OkStatus();
  if (link_ != nullptr) servers_->Break(link_);
  in_doubt_ = false;
  link_ = servers_->link_ = std::make_shared<FleetServers::Link>();
  if (absl::Status status = RoundTrip("connect to the fleet"); !status.ok()) return status;
  if (servers_->away()) {
    servers_->Break(link_);
    return absl::UnavailableError("nobody is there");
  }
  servers_->story_->Reach("fleet: connected");
  return absl::OkStatus();
}

absl::StatusOr<FleetSink::Log> SimulatedSink::Look(Where where) {
  if (where != Where::kEvents) return LookAtBucket(where);
  if (absl::Status status = Open(); !status.ok()) return status;
  if (servers_->Happens(servers_->fails_one_in_)) {
    servers_->story_->Reach("fleet: there is no stream");
    return absl::FailedPreconditionError("there is no stream");
  }
  if (servers_->Happens(servers_->fails_one_in_)) {
    servers_->story_->Reach("fleet: no answer");
    return absl::UnavailableError("no answer");
  }
  Log log{.id = servers_->LogId(),
          .first = servers_->stream_.empty() ? servers_->last_stream_sequence_ + 1 : 1,
          .last = servers_->last_stream_sequence_};
  if (absl::Status status = RoundTrip("answer by the fleet"); !status.ok()) return status;
  return log;
}

absl::StatusOr<std::vector<FleetSink::Stored>> SimulatedSink::At(
    Where where, const std::vector<uint64_t>& places) {
  if (absl::Status status = RoundTrip("answer by the fleet"); !status.ok()) return status;
  std::vector<Stored> found;
  for (const uint64_t place : places) {
    found.push_back(servers_->FirstFrom(where == Where::kEvents, place));
    if (found.back().has_value() && found.back()->position.stream_sequence == place) continue;
    found.back().reset();
    if (where == Where::kEvents && place <= servers_->last_stream_sequence_) {
      found.back() = FleetStored();  // another node's
    }
  }
  return found;
}

absl::StatusOr<std::vector<FleetSink::Stored>> SimulatedSink::Next(
    Where where, const std::vector<uint64_t>& places) {
  if (absl::Status status = RoundTrip("answer by the fleet"); !status.ok()) return status;
  std::vector<Stored> found;
  for (const uint64_t place : places) {
    found.push_back(servers_->FirstFrom(where == Where::kEvents, place));
    if (where == Where::kEvents && found.back().has_value()) {
      servers_->story_->Reach("fleet: what is stored is found");
    }
  }
  return found;
}

absl::StatusOr<std::vector<FleetSink::Stored>> SimulatedSink::Last(
    Where where, const std::vector<std::string>& subjects) {
  if (absl::Status status = RoundTrip("answer by the fleet"); !status.ok()) return status;
  std::vector<Stored> found;
  for (const std::string& subject : subjects) {
    if (where != Where::kEvents) {
      found.push_back(servers_->ValueAt(subject));
    } else if (servers_->stream_.empty()) {
      found.emplace_back();
    } else {
      found.emplace_back(servers_->stream_.back());
    }
  }
  return found;
}

FleetSink::Answers SimulatedSink::Send(Where where, const std::vector<FleetMessage>& batch) {
  const bool lost = link_ == nullptr || link_->broken || servers_->kernel_->dead();
  const absl::Status none = absl::UnavailableError("the connection is lost");
  if (batch.empty()) return {lost ? none : absl::OkStatus(), {}};
  if (where != Where::kEvents) {
    if (interrupted_) {
      for (const FleetMessage& message : batch) {
        if (!lost) servers_->Store(message, false);
      }
      return {lost ? none : Status(), std::vector<Answer>(batch.size())};
    }
    if (!servers_->buckets_.contains(BucketOf(where))) {
      const absl::Status status = RoundTrip("answer by the fleet");
      return {status.ok() ? absl::UnavailableError("no stream takes it") : status,
              std::vector<Answer>(batch.size(), {.kind = Answer::kRefused})};
    }
    return Carry(batch, kTableTimeout);
  }
  if (batch.size() == FleetPublisher::kFirstBatchEvents) {
    servers_->story_->Reach("bound: a batch of the fleet after a connection");
  } else if (batch.size() > FleetPublisher::kFirstBatchEvents) {
    servers_->story_->Reach("bound: a larger batch of the fleet");
  }
  Answers answers = Carry(batch, kAckTimeout);
  in_doubt_ |= answers.has(Answer::kNone);
  return answers;
}

FleetSink::Answers SimulatedSink::Carry(const std::vector<FleetMessage>& batch,
                                        absl::Duration timeout) {
  Answers answers{Status(), std::vector<Answer>(batch.size())};
  if (!answers.status.ok()) return answers;
  servers_->Carry(link_, batch);
  absl::Duration deadline = servers_->now() + timeout;
  size_t seen = 0;
  while (link_->acknowledged < batch.size()) {
    servers_->wait_(deadline, [&] { return !Status().ok() || link_->acknowledged != seen; });
    // Acknowledgements that have come are read before anything else.
    if (link_->acknowledged != seen) {
      seen = link_->acknowledged;
      deadline = servers_->now() + timeout;
      if (servers_->kernel_->Enter("acknowledgement by the fleet", "")) continue;
    }
    answers.status = Status();
    if (interrupted_) servers_->story_->Reach("fleet: a stop between send and acknowledgement");
    if (!answers.status.ok()) break;
    if (servers_->now() >= deadline) {
      answers.status = absl::UnavailableError("no acknowledgement came");
      break;
    }
  }
  answers.each = link_->acks;
  for (const Answer& answer : answers.each) {
    if (answers.status.ok() && answer.kind != Answer::kStored) {
      answers.status = absl::AbortedError("wrong last sequence");
    }
  }
  return answers;
}

absl::StatusOr<FleetSink::Log> SimulatedSink::LookAtBucket(Where where) {
  if (absl::Status status = RoundTrip("answer by the fleet"); !status.ok()) return status;
  if (servers_->Happens(servers_->fails_one_in_)) {
    servers_->story_->Reach("fleet: a bucket is not permitted");
    return absl::FailedPreconditionError("not permitted");
  }
  const std::string bucket = BucketOf(where);
  uint64_t& made = servers_->buckets_[bucket];
  if (made == 0) made = ++servers_->buckets_made_;
  Log log{.id = absl::StrCat("made ", made), .last = servers_->last_place_};
  for (const auto& [subject, place] : servers_->places_) {
    if (!absl::StartsWith(subject, KeySubject(bucket, ""))) continue;
    ++log.size;
    if (where == Where::kVms) log.keys.insert(subject);
  }
  return log;
}

}  // namespace vmeventd::simulation
