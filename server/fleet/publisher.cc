#include "server/fleet/publisher.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/thread_name.h"
#include "base/wait_until.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

FleetPublisher::FleetPublisher(PublisherOptions options, FleetSink* sink, Outbox* outbox,
                               std::unique_ptr<PositionFile> file, const Clock* clock,
                               std::function<double()> random)
    : options_(std::move(options)),
      sink_(sink),
      outbox_(outbox),
      file_(std::move(file)),
      clock_(clock),
      random_(std::move(random)),
      position_(file_->value()),
      rate_(std::max(static_cast<double>(kMaxBatchEvents), options_.events_per_second),
            options_.events_per_second) {
  // A journal that was never published is published from its oldest event on. From here on what
  // retention deletes is missing.
  if (options_.heartbeat > absl::ZeroDuration()) {
    node_state_ = std::make_unique<NodeState>(NodeStateOptions{.cluster = options_.cluster,
                                                               .node = options_.node,
                                                               .version = options_.version,
                                                               .format = options_.format,
                                                               .heartbeat = options_.heartbeat},
                                              sink_, outbox_, clock_, &meters_, random_);
  }
  if (const Outbox::Range range = outbox_->range(); range.journal_id != position_.journal_id) {
    Begin(range);
  }
  meters_.position.Set(position_.sequence);
}

void FleetPublisher::Run() {
  SetThreadName("fleet");
  while (true) {
    const absl::Duration wait = Step();
    const MutexLock lock(&mutex_);
    WaitUntil(&changed_, &mutex_, wait,
              [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return woken_ || stopped_; });
    if (stopped_) break;
    woken_ = false;
  }
  if (node_state_ != nullptr && connected_) node_state_->Leave(position_);
}

void FleetPublisher::Wake() {
  {
    const MutexLock lock(&mutex_);
    woken_ = true;
  }
  changed_.NotifyOne();
}

void FleetPublisher::Stop() {
  {
    const MutexLock lock(&mutex_);
    stopped_ = true;
  }
  changed_.NotifyOne();
  sink_->Interrupt();
  outbox_->Interrupt();
}

absl::Duration FleetPublisher::Step() {
  const absl::Duration now = clock_->Now().monotonic;
  if (const absl::Duration due = connected_ ? next_batch_at_ : retry_at_; now < due) {
    return due - now;
  }
  if (!connected_) {
    if (const absl::Status status = Connect(); !status.ok()) return Fail(status);
  }
  const absl::Duration state_due = WriteState();
  const Outbox::Range range = outbox_->range();
  if (range.journal_id != position_.journal_id) Begin(range);
  if (position_.sequence + 1 < range.unbroken_from) return PublishGap(range.unbroken_from);
  const absl::StatusOr<std::vector<EventBlockPtr>> blocks =
      outbox_->Read(position_.journal_id, position_.sequence + 1, kMaxBatchBytes);
  if (!blocks.ok()) {
    // Retention, or another journal, came in between; or the disk has an error, which the journal's
    // reader reports. All of it shows when it is read again.
    spdlog::debug("the fleet's publisher cannot read the journal: {}",
                  std::string(blocks.status().message()));
    return kReadRetry;
  }
  if (blocks->empty()) {
    const absl::Status status = sink_->Check();
    return status.ok() ? std::min(kIdleCheck, state_due) : Fail(status);
  }
  return PublishBatch(*blocks);
}

absl::Duration FleetPublisher::WriteState() {
  if (node_state_ == nullptr) return kIdleCheck;
  const NodeState::Step step = node_state_->Write(position_);
  const absl::Duration now = clock_->Now().monotonic;
  return std::max(step.next, rate_.Charge(static_cast<double>(step.written), now));
}

void FleetPublisher::Begin(const Outbox::Range& range) {
  present_.clear();
  MoveTo({range.journal_id, range.unbroken_from - 1, position_.stream_sequence});
}

absl::Status FleetPublisher::Connect() {
  const absl::StatusOr<std::optional<FleetTail>> tail = sink_->Connect();
  if (!tail.ok()) return tail.status();
  present_.clear();
  searched_ = 0;
  if (tail->has_value()) {
    if (absl::Status status = Compare(**tail); !status.ok()) return status;
  }
  connected_ = true;
  batch_events_ = kFirstBatchEvents;
  meters_.connected.Set(1);
  meters_.connects.Add();
  retry_wait_ = absl::ZeroDuration();
  reported_.clear();
  if (node_state_ != nullptr) node_state_->OnConnected();
  spdlog::info("publishing to the fleet's stream after the sequence {}", position_.sequence);
  return absl::OkStatus();
}

absl::Status FleetPublisher::Compare(const FleetTail& tail) {
  const FleetPosition& last = tail.position;
  if (last.journal_id != position_.journal_id) {
    // The stream has no message behind the position.
    position_.stream_sequence = std::max(position_.stream_sequence, last.stream_sequence);
    return absl::OkStatus();
  }
  const bool restored = last.stream_sequence < position_.stream_sequence;
  if (restored && last.sequence >= position_.sequence) return absl::OkStatus();
  if (restored) {
    spdlog::warn(
        "the fleet's stream ends with the event {} of this node, and had acknowledged {}: it was "
        "restored or purged; publishing what follows again",
        last.sequence, position_.sequence);
  }
  // Otherwise the file that had the position may be gone, or old, which a message shows that was
  // sent behind a later position.
  const bool old =
      tail.sent_after.sequence > position_.sequence && tail.sent_after.sequence < last.sequence;
  const bool unknown = restored || old || position_.stream_sequence == 0;
  const FleetPosition after = unknown ? tail.sent_after : position_;
  if (last.stream_sequence == after.stream_sequence) {
    MoveTo(after);
    return absl::OkStatus();
  }
  // Any message of the last batch may be missing, not only those at its end.
  absl::StatusOr<std::set<uint64_t>> stored = sink_->StoredAfter(after, kMaxSearched);
  if (stored.ok()) {
    present_ = *std::move(stored);
    searched_ = last.stream_sequence;
    position_ = after;
    Advance(after.sequence, 0);
    return absl::OkStatus();
  }
  if (!absl::IsOutOfRange(stored.status())) return stored.status();
  // More than a batch, and the message does not say behind what it was sent.
  spdlog::info("the fleet's stream is ahead of what was recorded: it ends with the event {}",
               last.sequence);
  if (last.sequence > position_.sequence) MoveTo(last);
  return absl::OkStatus();
}

FleetEncoder& FleetPublisher::encoder() {
  if (!encoder_ || encoder_->journal_id() != position_.journal_id) {
    encoder_.emplace(FleetIdentity{options_.cluster, options_.node, position_.journal_id},
                     options_.format);
  }
  return *encoder_;
}

absl::Duration FleetPublisher::PublishBatch(const std::vector<EventBlockPtr>& blocks) {
  std::vector<FleetMessage> batch;
  uint64_t through = position_.sequence;
  // What is missing among these comes first and alone, so that there is no more to look for if it
  // fails again.
  const uint64_t last = present_.empty() ? UINT64_MAX : *present_.rbegin();
  for (const EventBlockPtr& block : blocks) {
    for (size_t i = 0; i < block->size() && batch.size() < batch_events_; ++i) {
      const EventBlock::Entry entry = block->at(i);
      if (entry.sequence > last) break;
      through = entry.sequence;
      if (present_.contains(entry.sequence)) continue;
      batch.push_back(encoder().Encode(entry, block->EncodedView(i)));
    }
  }
  return Send(std::move(batch), through);
}

absl::Duration FleetPublisher::PublishGap(uint64_t unbroken_from) {
  const uint64_t first = position_.sequence + 1;
  uint64_t last = unbroken_from - 1;
  // The stream has a part of the unacknowledged events, which is not missing.
  if (!present_.empty()) last = std::min(last, *present_.begin() - 1);
  const absl::Duration wait = Send({encoder().EncodeGap(first, last, clock_->Now().wall)}, last);
  if (connected_) {
    meters_.lost_events.Add(last - first + 1);
    spdlog::error(
        "the events {} to {} are not in the fleet's stream: retention deleted them before they "
        "could be published; a GAP says so",
        first, last);
  }
  return wait;
}

absl::Duration FleetPublisher::Send(std::vector<FleetMessage> batch, uint64_t through) {
  const std::string sent_after = ToSentAfter(position_);
  for (FleetMessage& message : batch) message.headers.emplace_back(kSentAfterHeader, sent_after);
  FleetSink::Progress progress;
  const absl::Duration begin = clock_->Now().monotonic;
  if (!batch.empty()) progress = sink_->Publish(batch);
  meters_.published_events.Add(progress.acknowledged);
  meters_.repeated_events.Add(progress.repeated);
  for (size_t i = 0; i < progress.acknowledged && !present_.empty(); ++i) {
    if (batch[i].sequence < *present_.rbegin()) meters_.late_events.Add();
  }
  if (!progress.status.ok()) {
    if (progress.acknowledged > 0) {
      Advance(batch[progress.acknowledged - 1].sequence, 0);
    }
    return Fail(progress.status);
  }
  Advance(through, progress.stream_sequence);
  const absl::Duration now = clock_->Now().monotonic;
  AdjustBatch(now - begin);
  next_batch_at_ = now + rate_.Charge(static_cast<double>(batch.size()), now);
  return next_batch_at_ - now;
}

void FleetPublisher::AdjustBatch(absl::Duration took) {
  if (took <= kQuickBatch) {
    batch_events_ = std::min(batch_events_ * 2, kMaxBatchEvents);
  } else if (took > kSlowBatch) {
    batch_events_ = std::max(batch_events_ / 2, kFirstBatchEvents);
  }
}

void FleetPublisher::Advance(uint64_t sequence, uint64_t stream_sequence) {
  FleetPosition reached = position_;
  present_.erase(present_.begin(), present_.upper_bound(sequence));
  while (present_.erase(sequence + 1) > 0) ++sequence;
  reached.sequence = sequence;
  // Present events are behind the old place, and perhaps before the new one.
  if (present_.empty()) {
    reached.stream_sequence = std::max({reached.stream_sequence, stream_sequence, searched_});
  }
  MoveTo(std::move(reached));
}

void FleetPublisher::MoveTo(FleetPosition position) {
  position_ = std::move(position);
  meters_.position.Set(position_.sequence);
  const absl::Status status = file_->Set(position_);
  if (!status.ok()) {
    meters_.position_failures.Add();
    if (!position_failed_) {
      spdlog::warn("{}; after a kill the fleet's stream says how far it came",
                   std::string(status.message()));
    }
  }
  position_failed_ = !status.ok();
}

absl::Duration FleetPublisher::Fail(const absl::Status& why) {
  connected_ = false;
  meters_.connected.Set(0);
  meters_.failures.Add();
  const std::string message(why.message());
  if (message != reported_ && !absl::IsCancelled(why)) {
    spdlog::warn("cannot publish to the fleet's stream: {}; events wait in the journal", message);
    reported_ = message;
  }
  retry_wait_ = std::clamp(retry_wait_ * 2, kFirstRetry, kMaxRetry);
  const absl::Duration wait = retry_wait_ * (0.5 + random_() / 2);
  retry_at_ = clock_->Now().monotonic + wait;
  return wait;
}

}  // namespace vmeventd
