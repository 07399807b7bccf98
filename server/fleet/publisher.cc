#include "server/fleet/publisher.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/system.h"
#include "server/events/event_codec.h"
#include "server/fleet/stored_messages.h"
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
            options_.events_per_second),
      since_(clock_->Now().wall) {
  problems_.Set(PublishingProblems::kEvents, "no server has answered yet");
  // A journal that was never published is published from its oldest event on. From here on what
  // retention deletes is missing.
  if (options_.heartbeat > absl::ZeroDuration()) {
    node_state_ = std::make_unique<NodeState>(options_, sink_, outbox_, clock_, &meters_,
                                              &problems_, random_);
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
  if (node_state_ != nullptr) node_state_->Leave(position_);
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
  if (!connected_ || now >= look_at_) {
    if (const absl::Status status = Look(); !status.ok()) return Fail(status);
  }
  const absl::Duration state_due = WriteState();
  const Outbox::Range range = outbox_->range();
  if (range.journal_id != position_.journal_id) Begin(range);
  const uint64_t first = position_.sequence + 1;
  if (first < range.unbroken_from) {
    // The stream has a part of the unacknowledged events, which is not missing.
    const uint64_t last = range.unbroken_from - 1;
    return PublishGap(first, present_.empty() ? last : std::min(last, *present_.begin() - 1),
                      "the journal's retention deleted them before they were published");
  }
  if (first == unfit_) {
    return PublishGap(first, first, absl::StrCat("the stream refuses them: ", unfit_why_));
  }
  const absl::StatusOr<std::vector<EventBlockPtr>> blocks =
      outbox_->Read(position_.journal_id, first, kMaxBatchBytes);
  if (!blocks.ok()) {
    // Retention, or another journal, came in between; or the disk has an error, which the journal's
    // reader reports. All of it shows when it is read again.
    spdlog::debug("the fleet's publisher cannot read the journal: {}",
                  std::string(blocks.status().message()));
    return kReadRetry;
  }
  if (blocks->empty()) {
    const absl::Status status = sink_->Send(FleetSink::Where::kEvents, {}).status;
    if (!status.ok()) return Fail(status);
    EndRetries();
    return std::min(kIdleCheck, state_due);
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
  acknowledged_.clear();
  unfit_ = 0;
  rolled_back_ = absl::OkStatus();
  MoveTo({range.journal_id, range.unbroken_from - 1, position_.stream_sequence, position_.log_id});
}

absl::Status FleetPublisher::Look() {
  absl::StatusOr<FleetSink::Log> log = sink_->Look(FleetSink::Where::kEvents);
  if (!log.ok()) return log.status();
  log_ = *std::move(log);
  if (absl::Status status = Compare(); !status.ok()) return status;
  if (absl::Status status = CheckJournal(); !status.ok()) return status;
  position_.looked_at = position_.own;
  acknowledged_.clear();
  doubt_ = false;
  look_at_ = clock_->Now().monotonic + NextLook(meters_, random_());
  if (connected_) return absl::OkStatus();
  SetConnected(true);
  batch_events_ = kFirstBatchEvents;
  meters_.connects.Add();
  if (node_state_ != nullptr) node_state_->OnConnected();
  spdlog::info("publishing to the fleet's stream after the sequence {}", position_.sequence);
  return absl::OkStatus();
}

absl::Status FleetPublisher::CheckJournal() {
  if (outbox_->range().journal_id != position_.journal_id) return absl::OkStatus();
  const uint64_t stored = std::max(position_.sequence, present_.empty() ? 0 : *present_.rbegin());
  const uint64_t newest = outbox_->newest().sequence;
  if (rolled_back_.ok() && stored > newest) {
    rolled_back_ = absl::FailedPreconditionError(absl::StrCat(
        "the stream has events of this journal up to ", stored, ", which ends with ", newest,
        ": its file system was rolled back, or is a copy; stop vmeventd, touch "
        "STATE_DIR/journal.db.generation-rolled-back, and start it (docs/journal.md)"));
  }
  return rolled_back_;
}

absl::Status FleetPublisher::Compare() {
  std::string lost;                // of the stream, for people; empty: nothing
  uint64_t replaced = UINT64_MAX;  // from here on messages say positions of the stream that is gone
  if (!position_.log_id.empty() && position_.log_id != log_.id) {
    lost = absl::StrCat("was made again at ", log_.id);
  } else {
    const absl::StatusOr<OwnMessage> own = CheckOwn();
    if (!own.ok()) return own.status();
    position_.log_id = log_.id;
    // Every message has its answer, so that the own one is the last, whatever others wrote. The
    // stream's limits may have deleted it.
    const bool deleted = position_.own.place < log_.first;
    if (own->replaced > 0) {
      lost = "was restored";
      replaced = own->replaced;
    } else if (!doubt_ && (own->is_there || deleted)) {
      return absl::OkStatus();
    }
  }
  const auto found = sink_->Last(FleetSink::Where::kEvents, {""});
  if (!found.ok()) return found.status();
  const FleetSink::Stored& tail = found->front();
  const FleetPosition last = tail.has_value() ? tail->position : FleetPosition();
  // The stream's message at the position is the node's last one, unless messages came later, or the
  // stream's limits have deleted all of them. While a hole is in the acknowledged ones, the
  // position stands before it.
  const uint64_t seen = std::max(position_.stream_sequence, position_.own.place);
  if (lost.empty() && last.stream_sequence < seen && log_.first <= seen) {
    lost = "was restored or purged";
  }
  if (lost.empty()) {
    if (last.journal_id == position_.journal_id && last.stream_sequence > position_.own.place) {
      position_.own = {last.stream_sequence, last.sequence};
    }
    const bool agrees = last.stream_sequence == position_.stream_sequence && present_.empty();
    if (!doubt_ || agrees || !tail.has_value()) return absl::OkStatus();
  }
  const absl::StatusOr<FleetSink::Stored> own = LastTrue(tail, replaced);
  if (!own.ok()) return own.status();
  const FleetPosition& end = own->has_value() ? (*own)->position : last;
  if (lost.empty()) return Search(SentAfter(*own), end, last.stream_sequence);
  const FleetPosition before = position_;
  GoBack(*own);
  if (absl::Status status = Search(position_, end, last.stream_sequence); !status.ok()) {
    position_ = before;
    return status;
  }
  unfit_ = 0;  // another stream may take it
  meters_.streams_lost.Add();
  spdlog::warn(
      "the fleet's stream {}: it had acknowledged the events up to {}, and now has all up to {}; "
      "publishing what it lacks",
      lost, before.sequence, position_.sequence);
  return absl::OkStatus();
}

FleetPosition FleetPublisher::SentAfter(const FleetSink::Stored& last) const {
  if (!last.has_value() || position_.sequence < position_.lost_up_to) return position_;
  // Not an earlier version's, nor one that was sent to another stream.
  const bool says = last->sent_after.stream_sequence != last->position.stream_sequence &&
                    last->sent_after.stream_sequence > 0;
  return says || position_.stream_sequence == 0 ? last->sent_after : position_;
}

absl::StatusOr<FleetPublisher::OwnMessage> FleetPublisher::CheckOwn() {
  // The node itself may have written past the places of what the stream lost, as others may.
  std::map<uint64_t, uint64_t> known = acknowledged_;  // sequences, by place
  for (const FleetPosition::Own& each : {position_.looked_at, position_.own}) {
    if (each.place > 0) known[each.place] = each.sequence;
  }
  OwnMessage own;
  if (known.empty()) return own;
  std::vector<uint64_t> places;
  places.reserve(known.size());
  for (const auto& [place, sequence] : known) places.push_back(place);
  const auto found = sink_->At(FleetSink::Where::kEvents, places);
  if (!found.ok()) return found.status();
  for (size_t i = 0; i < places.size(); ++i) {
    const FleetSink::Stored& is = (*found)[i];
    // The stream's limits may have deleted it.
    own.is_there = is.has_value();
    if (own.is_there && (is->position.journal_id != position_.journal_id ||
                         is->position.sequence != known[places[i]])) {
      own.replaced = places[i];
      return own;
    }
  }
  return own;
}

absl::StatusOr<FleetSink::Stored> FleetPublisher::LastTrue(FleetSink::Stored last,
                                                           uint64_t before) {
  for (int i = 0; last.has_value() && i < kMaxDoubted; ++i) {
    const uint64_t place = last->position.stream_sequence;
    if (last->position.journal_id != position_.journal_id || place >= before) {
      absl::StatusOr<FleetSink::Stored> found =
          FindLast(sink_, position_.journal_id, log_.first, std::min(place, before));
      if (!found.ok() || !found->has_value()) return found;
      last = *std::move(found);
    }
    const FleetPosition& after = last->sent_after;
    if (after.stream_sequence == 0 || after.sequence == last->position.sequence) return last;
    const auto found = sink_->At(FleetSink::Where::kEvents, {after.stream_sequence});
    if (!found.ok()) return found.status();
    const FleetSink::Stored& is = found->front();
    if (!is.has_value() || (is->position.journal_id == position_.journal_id &&
                            is->position.sequence <= after.sequence)) {
      return last;
    }
    before = last->position.stream_sequence;
  }
  return std::nullopt;
}

void FleetPublisher::GoBack(const FleetSink::Stored& last) {
  FleetPosition after{position_.journal_id, 0, 0, log_.id};
  if (last.has_value()) {
    if (position_.log_id == log_.id && last->sent_after.sequence < last->position.sequence) {
      after.sequence = last->sent_after.sequence;
      after.stream_sequence = last->sent_after.stream_sequence;
    }
    after.own = {last->position.stream_sequence, last->position.sequence};
  }
  after.lost_up_to = std::max(position_.sequence, position_.lost_up_to);
  // Earlier acknowledgements say nothing any more.
  position_ = after;
}

absl::Status FleetPublisher::Search(const FleetPosition& after, const FleetPosition& last,
                                    uint64_t tail) {
  // Any message of the last batch may be missing, not only those at its end.
  absl::StatusOr<std::set<uint64_t>> stored = FindStored(sink_, after, tail, kMaxSearched);
  if (stored.ok()) {
    present_ = *std::move(stored);
    searched_ = last.stream_sequence;
    position_.stream_sequence = after.stream_sequence;
    Advance(after.sequence, 0);
    return absl::OkStatus();
  }
  if (!absl::IsOutOfRange(stored.status())) return stored.status();
  // More than a batch, and no message says behind what it was sent.
  spdlog::info("the fleet's stream is ahead of what was recorded: it ends with the event {}",
               last.sequence);
  if (last.journal_id != position_.journal_id) {
    position_.stream_sequence = last.stream_sequence;
    return absl::OkStatus();
  }
  present_.clear();
  FleetPosition reached = position_;
  reached.sequence = std::max(last.sequence, position_.sequence);
  reached.stream_sequence = last.stream_sequence;
  MoveTo(reached);
  return absl::OkStatus();
}

FleetEncoder& FleetPublisher::encoder() {
  if (!encoder_ || encoder_->journal_id() != position_.journal_id) {
    encoder_.emplace(FleetIdentity{options_.cluster, options_.node, position_.journal_id},
                     options_.format, options_.secret);
  }
  return *encoder_;
}

absl::Duration FleetPublisher::PublishBatch(const std::vector<EventBlockPtr>& blocks) {
  std::vector<FleetMessage> batch;
  uint64_t through = position_.sequence;
  // Missing ones among these come first and alone, so that there is no more to look for if that
  // fails again.
  uint64_t last = present_.empty() ? UINT64_MAX : *present_.rbegin();
  if (unfit_ > position_.sequence) last = std::min(last, unfit_ - 1);
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

absl::Duration FleetPublisher::PublishGap(uint64_t first, uint64_t last, absl::string_view why) {
  const absl::Duration wait =
      Send({encoder().EncodeGap(first, last, why, clock_->Now().wall)}, last);
  if (position_.sequence >= last) {
    meters_.lost_events.Add(last - first + 1);
    spdlog::error("the events {} to {} are not in the fleet's stream: {}; a GAP says so", first,
                  last, std::string(why));
  }
  return wait;
}

absl::Duration FleetPublisher::Send(std::vector<FleetMessage> batch, uint64_t through) {
  const std::string sent_after = ToSentAfter(position_);
  for (FleetMessage& message : batch) {
    message.headers.emplace_back(kSentAfterHeader, sent_after);
    message.headers.emplace_back(kSentToHeader, position_.log_id);
  }
  FleetSink::Answers answers;
  const absl::Duration begin = clock_->Now().monotonic;
  if (!batch.empty()) answers = sink_->Send(FleetSink::Where::kEvents, batch);
  const uint64_t last_present = present_.empty() ? 0 : *present_.rbegin();
  std::map<uint64_t, uint64_t> stored;  // sequences, by place
  for (size_t i = 0; i < batch.size(); ++i) {
    const FleetSink::Answer& answer = answers.each[i];
    if (answer.kind != FleetSink::Answer::kStored) continue;
    if (answer.place <= position_.stream_sequence && !answer.repeated) {
      return Fail(absl::UnavailableError(
          absl::StrCat("it stores an event at the place ", answer.place, ", and had stored one at ",
                       position_.stream_sequence, ": it is another stream")));
    }
    stored[answer.place] = batch[i].sequence;
    if (answer.place > position_.own.place) position_.own = {answer.place, batch[i].sequence};
    meters_.published_events.Add();
    if (answer.repeated) meters_.repeated_events.Add();
    if (batch[i].sequence < last_present) meters_.late_events.Add();
  }
  const uint64_t place = stored.empty() ? 0 : stored.rbegin()->first;
  if (!stored.empty()) {
    acknowledged_.insert(*stored.begin());
    acknowledged_.insert(*stored.rbegin());
    bool keep = true;
    if (acknowledged_.size() > kMaxAsked) {
      std::erase_if(acknowledged_, [&keep](const auto&) { return keep = !keep; });
    }
  }
  if (!answers.status.ok()) {
    const bool doubt = answers.has(FleetSink::Answer::kNone);
    for (const auto& [at, sequence] : stored) present_.insert(sequence);
    doubt_ |= doubt;
    if (!doubt) searched_ = std::max(searched_, place);
    Advance(position_.sequence, 0);
    return doubt ? Fail(answers.status) : TakeRefusals(batch, answers);
  }
  Advance(through, place);
  EndRetries();
  const absl::Duration now = clock_->Now().monotonic;
  AdjustBatch(now - begin);
  next_batch_at_ = now + rate_.Charge(static_cast<double>(batch.size()), now);
  return next_batch_at_ - now;
}

absl::Duration FleetPublisher::TakeRefusals(const std::vector<FleetMessage>& batch,
                                            const FleetSink::Answers& answers) {
  bool later = false;
  for (size_t i = batch.size(); i-- > 0;) {
    const FleetSink::Answer::Kind kind = answers.each[i].kind;
    later |= kind != FleetSink::Answer::kStored && kind != FleetSink::Answer::kUnfit;
    if (kind != FleetSink::Answer::kUnfit) continue;
    // A stream that takes not even a GAP is wrong in its settings, which somebody will correct.
    later |= batch[i].sequence == unfit_;
    unfit_ = batch[i].sequence == unfit_ ? 0 : batch[i].sequence;
    unfit_why_ = std::string(answers.status.message());
  }
  if (!later) return absl::ZeroDuration();
  // Every message has an answer, so that there is nothing to look for.
  const absl::Duration wait = NextRetry(answers.status);
  next_batch_at_ = clock_->Now().monotonic + wait;
  // The stream may be gone, and another one in its place by then.
  look_at_ = std::min(look_at_, next_batch_at_);
  return wait;
}

void FleetPublisher::AdjustBatch(absl::Duration took) {
  // The network's part says nothing of how much the servers have to do.
  took -= std::min(log_.round_trip, kMaxRoundTrip);
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
  SetConnected(false);
  const absl::Duration wait = NextRetry(why);
  retry_at_ = clock_->Now().monotonic + wait;
  return wait;
}

absl::Duration FleetPublisher::NextRetry(const absl::Status& why) {
  meters_.failures.Add();
  const std::string message(why.message());
  if (!absl::IsCancelled(why) && problems_.Set(PublishingProblems::kEvents, message)) {
    spdlog::warn("cannot publish to the fleet's stream: {}; events wait in the journal", message);
  }
  retry_wait_ = NextPause(retry_wait_, kFirstRetry, kMaxRetry);
  const absl::Duration shortest = retry_wait_ / 2;
  const auto nodes = static_cast<double>(meters_.nodes.value());
  const absl::Duration longest = std::max(retry_wait_, std::min(kRetryANode * nodes, kMaxRetry));
  return shortest + (longest - shortest) * random_();
}

void FleetPublisher::EndRetries() {
  retry_wait_ = absl::ZeroDuration();
  problems_.Set(PublishingProblems::kEvents, "");
}

void FleetPublisher::SetConnected(bool connected) {
  if (std::exchange(connected_, connected) == connected) return;
  meters_.connected.Set(connected ? 1 : 0);
  const MutexLock lock(&mutex_);
  since_ = clock_->Now().wall;
}

v1::Publishing FleetPublisher::state() const {
  v1::Publishing state;
  state.set_connected(meters_.connected.value() != 0);
  state.set_problem(problems_.text());
  state.set_sequence(meters_.position.value());
  const MutexLock lock(&mutex_);
  *state.mutable_since() = ToTimestamp(since_);
  return state;
}

}  // namespace vmeventd
