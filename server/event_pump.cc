#include "server/event_pump.h"

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "server/event_codec.h"
#include "server/stop_log.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

// What is committed at once at the most, so that a burst is on its way while it lasts.
constexpr size_t kMaxBlocksAStep = 16;

// The same events, marked as not durable.
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
  EventQueue::Batch batch = queue_->Pop(std::min(timeout, until_tick));
  store_->SetDirectories(std::move(batch.directories));
  for (const VmUpdate& update : batch.updates) {
    Take(update);
    if (step_.blocks.size() >= kMaxBlocksAStep) Flush();
  }
  Flush();
  TendJournal();
  return !batch.closed;
}

void EventPump::ReportCorrupt(const std::string& journal_id, const absl::Status& found) {
  {
    const MutexLock lock(&mutex_);
    found_corrupt_ = {journal_id, found};
  }
  queue_->Wake();
}

void EventPump::TellGap(const std::string& message) {
  VmEvent gap;
  gap.type = EventType::kGap;
  gap.observe_time = clock_->Now().wall;
  gap.message = message;
  AddEvent(gap, nullptr);
  Flush();
}

void EventPump::AddEvent(const VmEvent& event, const VmRef* vm) {
  v1::Event encoded = EventToProto(event, vm, ++newest_);
  encoded.set_durable(true);  // it is public after its commit
  builder_.Add(encoded);
  meters_.Count(event);
  if (event.type == EventType::kStopped && vm != nullptr) LogStop(event, *vm, newest_);
  if (event.observe_monotonic.has_value()) observed_.push_back(*event.observe_monotonic);
  if (builder_.full()) step_.blocks.push_back(builder_.Finish());
  if (vm != nullptr && !vm->run_id.empty()) last_of_run_[vm->run_id] = newest_;
}

void EventPump::Take(const VmUpdate& update) {
  if (update.told) told_.push_back(update.told);
  if (update.event.has_value()) {
    AddEvent(*update.event, update.status.has_value() ? &update.status->ref : nullptr);
  }
  if (!update.status.has_value()) return;
  if (update.forget) {
    step_.vms.push_back({nullptr, *update.status});
    return;
  }
  const uint64_t last_sequence = LastSequenceOf(*update.status);
  auto record = std::make_shared<const VmRecord>(*update.status, last_sequence);
  if (update.saved_run.has_value()) {
    change_.sessions.push_back({update.status->ref.run_id, *update.saved_run, last_sequence});
  }
  if (record->stopped()) change_.stops.push_back({last_sequence, record->encoded()});
  step_.vms.push_back({std::move(record), {}});
}

uint64_t EventPump::LastSequenceOf(const VmStatus& status) const {
  if (status.ref.run_id.empty()) return 0;
  const auto pending = last_of_run_.find(status.ref.run_id);
  if (pending != last_of_run_.end()) return pending->second;
  const VmRecordPtr record = store_->FindVm({status.ref.name, status.ref.run_id, ""});
  return record == nullptr ? 0 : record->last_sequence();
}

Retained EventPump::RetainedNow() const {
  return {journal_->journal().oldest(), journal_->journal().deleted_until()};
}

void EventPump::Flush() {
  if (!builder_.empty()) step_.blocks.push_back(builder_.Finish());
  const bool events = !step_.blocks.empty();
  if (events || !change_.sessions.empty()) {
    change_.blocks = step_.blocks;
    const bool durable = journal_->Append(std::exchange(change_, {}), clock_->Now());
    const absl::Duration now = clock_->Now().monotonic;
    for (EventBlockPtr& block : step_.blocks) {
      if (!durable) block = NotDurable(*block);
      block->SetPublished(now);
    }
    if (durable) {
      for (const absl::Duration at : observed_) meters_.observed_to_durable.Observe(now - at);
    }
    observed_.clear();
  }
  if (!events && step_.vms.empty()) return;
  step_.retained = RetainedNow();
  store_->Publish(std::exchange(step_, {}));
  last_of_run_.clear();
  if (events) listener_.published();
  for (const std::function<void()>& told : std::exchange(told_, {})) told();
}

void EventPump::TendJournal() {
  {
    const MutexLock lock(&mutex_);
    const auto [journal_id, found] = std::exchange(found_corrupt_, {});
    // A late report may be of the one that was replaced.
    if (!found.ok() && journal_id == journal_->journal().journal_id()) {
      journal_->ReportCorrupt(found);
    }
  }
  journal_->Tick(clock_->Now());
  store_->Replace(journal_->TakeLate());
  if (journal_->replace_due(clock_->Now())) ReplaceCorruptJournal();
  store_->SetRetained(RetainedNow());
  const bool writable = journal_->writable();
  if (writable != told_writable_) {
    told_writable_ = writable;
    store_->SetJournalWritable(writable);
    listener_.journal_writable(writable);
  }
  if (const uint64_t given_up = journal_->TakeGivenUp(); given_up > 0) {
    TellGap(absl::StrCat(given_up,
                         " events were told but could not be kept: the journal was not writable "
                         "for too long"));
  }
}

void EventPump::ReplaceCorruptJournal() {
  const std::string problem = journal_->problem();
  const absl::StatusOr<std::string> moved_to = journal_->Replace(newest_, clock_->Now());
  if (!moved_to.ok()) {
    spdlog::error("the journal is corrupt ({}) and cannot be replaced: {}", problem,
                  std::string(moved_to.status().message()));
    return;
  }
  spdlog::error("{}: the journal is corrupt and was moved to {}; a new one begins", problem,
                *moved_to);
  store_->ChangeJournal({journal_->journal().journal_id(), journal_->journal().token_key()});
  listener_.journal_replaced();
  TellGap(absl::StrCat("the journal was corrupt and was moved to ", *moved_to,
                       "; the events before this one are there"));
}

}  // namespace vmeventd
