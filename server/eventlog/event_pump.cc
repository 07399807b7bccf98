#include "server/eventlog/event_pump.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "server/eventlog/live_state.h"
#include "server/events/event_codec.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

// Only the ring has the events that wait for the journal: it must hold all of them.
static_assert(JournalWriter::kMaxBacklogBytes < EventRingOptions{}.max_bytes);
namespace {

// Limit of one commit, so that the events of a burst are published while it lasts.
constexpr size_t kMaxBlocksAStep = 16;

// Copies the block with its events marked as not durable.
EventBlockPtr NotDurable(const EventBlock& block) {
  EventBlockBuilder builder;
  for (size_t i = 0; i < block.size(); ++i) {
    v1::Event event = DecodeEventField(block.EncodedView(i));
    event.set_durable(false);
    builder.Add(event);
  }
  return builder.Finish();
}

}  // namespace

bool EventPump::RunOnce(absl::Duration timeout) {
  const absl::Duration until_tick =
      std::max(absl::ZeroDuration(), journal_->NextTick() - clock_->Now().monotonic);
  timeout = std::min(timeout, until_tick);
  bool closed = false;
  const bool held_back = holds_back();
  if (held_back || updates_.empty()) {
    EventQueue::Batch batch = queue_->Pop(timeout, /*take_updates=*/!held_back);
    if (!held_back) updates_ = std::move(batch.updates);
    closed = batch.closed;
  }
  const bool idle = updates_.empty();
  while (handled_ < updates_.size() && !holds_back()) {
    Take(&updates_[handled_++]);
    if (step_.blocks.size() >= kMaxBlocksAStep) Flush();
  }
  if (!holds_back()) Flush();
  if (handled_ == updates_.size()) {
    updates_ = {};  // large after a burst, and clear() would keep its memory
    handled_ = 0;
  }
  if (closed) journal_->RetryNow();  // there is no later
  TendJournal(idle);
  if (!closed) return true;
  if (holds_back()) {
    spdlog::error(
        "the events that were observed last are lost: neither the journal nor the sequence mark "
        "can be written");
    return false;
  }
  return held_back || !updates_.empty();
}

void EventPump::ReportCorrupt(const std::string& journal_id, const absl::Status& found) {
  {
    const MutexLock lock(&mutex_);
    const bool is_worse = found_corrupt_.first != journal_id || absl::IsDataLoss(found) ||
                          !absl::IsDataLoss(found_corrupt_.second);
    if (is_worse) found_corrupt_ = {journal_id, found};
  }
  queue_->Wake();
}

void EventPump::PublishGap(const std::string& message, std::optional<Missing> missing) {
  VmEvent gap;
  gap.type = EventType::kGap;
  gap.observe_time = clock_->Now().wall;
  gap.message = message;
  AddEvent(gap, nullptr, missing);
  Flush();
}

void EventPump::AddEvent(const VmEvent& event, const VmStatus* vm, std::optional<Missing> missing) {
  EventToProto(event, vm, ++newest_, &event_);
  if (missing.has_value()) {
    event_.mutable_missing()->set_first(missing->first);
    event_.mutable_missing()->set_last(missing->last);
  }
  event_.set_durable(true);  // it is public after its commit
  builder_.Add(event_);
  meters_.Count(event);
  if (event.type == EventType::kStopped && vm != nullptr) {
    stop_lines_.emplace_back(event, vm->ref, newest_);
  }
  if (event.observe_monotonic.has_value()) observed_.push_back(*event.observe_monotonic);
  if (builder_.full()) step_.blocks.push_back(builder_.Finish());
}

void EventPump::Take(VmUpdate* update) {
  if (update->on_public) on_public_.push_back(std::move(update->on_public));
  const VmStatus* const status = update->status.has_value() ? &*update->status : nullptr;
  if (update->event.has_value()) AddEvent(*update->event, status);
  if (status == nullptr) return;
  // Each update without a run_id is a VM of its own, and the order between the two kinds counts.
  if (status->ref.run_id.empty()) {
    statuses_.push_back({status, 0});
    return;
  }
  const auto [found, first] = runs_.try_emplace(status->ref.run_id);
  OfRun& run = found->second;
  if (update->event.has_value()) {
    run.last_sequence = newest_;
  } else if (first) {
    const VmRecordPtr record = live_state_->FindVm({status->ref.name, status->ref.run_id, ""});
    run.last_sequence = record == nullptr ? 0 : record->last_sequence();
  }
  if (!first) statuses_[run.status].vm = nullptr;
  run.status = statuses_.size();
  statuses_.push_back({status, run.last_sequence});
  if (update->saved_run.has_value()) {
    run.saved = {status->ref.run_id, *std::move(update->saved_run), run.last_sequence};
  }
}

void EventPump::EncodeStatuses() {
  for (const auto& [status, last_sequence] : std::exchange(statuses_, {})) {
    if (status == nullptr) continue;
    VmToProto(*status, last_sequence, &vm_);
    auto record = std::make_shared<const VmRecord>(vm_);
    if (record->stopped()) change_.stops.push_back({last_sequence, std::string(record->encoded())});
    step_.vms.push_back(std::move(record));
  }
  for (auto& [run_id, run] : runs_) {
    if (run.saved.has_value()) change_.runs.push_back(*std::move(run.saved));
  }
  runs_.clear();
  // Neighbours in the table are written together.
  std::sort(change_.runs.begin(), change_.runs.end(),
            [](const auto& a, const auto& b) { return a.run_id.str() < b.run_id.str(); });
}

void EventPump::PutGap() {
  const auto given_up = journal_->TakeGivenUp();
  if (!given_up.has_value()) return;
  VmEvent gap;
  gap.type = EventType::kGap;
  gap.observe_time = given_up->time;
  gap.message = absl::StrCat(
      given_up->events, " events up to ", given_up->last, ", which had been sent as not durable, ",
      "are lost: the journal could not be written for too long, and more waited than ",
      JournalWriter::kMaxBacklogBytes >> 20, " MiB");
  v1::Event encoded = EventToProto(gap, nullptr, given_up->last);
  encoded.mutable_missing()->set_first(given_up->first);
  encoded.mutable_missing()->set_last(given_up->last);
  encoded.set_durable(true);  // once it is in the journal
  EventBlockBuilder builder;
  builder.Add(encoded);
  EventBlockPtr block = builder.Finish();
  live_state_->PutGap(given_up->first, NotDurable(*block));
  journal_->PutGap(std::move(block));
}

void EventPump::Flush() {
  if (!builder_.empty()) step_.blocks.push_back(builder_.Finish());
  EncodeStatuses();
  const bool events = !step_.blocks.empty();
  if (events || !change_.runs.empty()) {
    change_.blocks.assign(step_.blocks.begin() + static_cast<ptrdiff_t>(held_blocks_),
                          step_.blocks.end());
    journal_->Append(std::exchange(change_, {}), clock_->Now());
  }
  if (events && !journal_->may_publish()) {
    held_blocks_ = step_.blocks.size();
    PutGap();  // gap in public events: the newest is never given up
  } else {
    PublishStep(journal_->writable());
  }
}

void EventPump::PublishStep(bool durable) {
  const bool events = !step_.blocks.empty();
  if (!events && step_.vms.empty()) return;
  held_blocks_ = 0;
  const absl::Duration now = clock_->Now().monotonic;
  for (EventBlockPtr& block : step_.blocks) {
    if (!durable) block = NotDurable(*block);
    block->SetPublished(now);
  }
  if (durable) {
    for (const absl::Duration at : observed_) meters_.observed_to_durable.Observe(now - at);
  }
  observed_.clear();
  step_.retained = journal_->journal().retained();
  live_state_->Publish(std::exchange(step_, {}));
  PutGap();
  if (events) Tell(&Subscriber::published);
  // These may ask whether their event is durable: that is, whether the journal is writable now.
  live_state_->SetJournalWritable(journal_->writable());
  for (const std::function<void()>& on_public : std::exchange(on_public_, {})) on_public();
  for (const StopLine& line : std::exchange(stop_lines_, {})) line.Log();
}

void EventPump::TendJournal(bool idle) {
  {
    const MutexLock lock(&mutex_);
    const auto [journal_id, found] = std::exchange(found_corrupt_, {});
    // A late report may be of the one that was replaced.
    if (!found.ok() && journal_id == journal_->journal().journal_id()) {
      journal_->ReportFound(found, clock_->Now());
    }
  }
  journal_->Tick(clock_->Now(), idle);
  if (holds_back() && journal_->may_publish()) PublishStep(journal_->writable());
  live_state_->Replace(journal_->TakeLate());
  if (journal_->replace_due(clock_->Now())) ReplaceCorruptJournal();
  live_state_->SetRetained(journal_->journal().retained());
  const bool writable = journal_->writable();
  live_state_->SetJournalWritable(writable);
  if (writable != reported_writable_) {
    reported_writable_ = writable;
    Tell(&Subscriber::journal_writable, writable);
    Tell(&Subscriber::published);  // public events may be durable now
  }
}

void EventPump::ReplaceCorruptJournal() {
  const std::string problem = journal_->problem();
  const uint64_t committed = journal_->journal().newest();
  const absl::StatusOr<std::string> moved_to = journal_->Replace(newest_, clock_->Now());
  if (!moved_to.ok()) {
    spdlog::error("the journal is corrupt ({}) and cannot be replaced: {}", problem,
                  std::string(moved_to.status().message()));
    return;
  }
  const std::string old_one =
      moved_to->empty() ? "the journal's file is no longer in its place"
                        : absl::StrCat("the journal was corrupt and was moved to ", *moved_to);
  spdlog::error("{}: {}; a new one begins", problem, old_one);
  if (holds_back()) PublishStep(false);  // the new one begins after it
  live_state_->ChangeJournal({journal_->journal().journal_id(), journal_->journal().token_key(),
                              live_state_->identity()->node_id});
  Tell(&Subscriber::journal_replaced);
  const uint64_t published = newest_;
  if (published == committed) {
    PublishGap(absl::StrCat(old_one, "; the events before this one are there"));
  } else {
    PublishGap(absl::StrCat(old_one, "; the events up to ", committed,
                            " are there, those after it were sent as not durable and are lost"),
               Missing{committed + 1, published});
  }
}

}  // namespace vmeventd
