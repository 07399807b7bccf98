#include "server/event_pump.h"

#include <memory>

#include "server/event_codec.h"

namespace vmeventd {

bool EventPump::RunOnce(absl::Duration timeout) {
  EventQueue::Batch batch = queue_->Pop(timeout);
  store_->SetDirectories(std::move(batch.directories));
  for (const VmUpdate& update : batch.updates) {
    Take(update);
    // A step is public before the next is encoded, so that a burst is on its way while it lasts.
    if (builder_.full()) Flush();
  }
  Flush();
  return !batch.closed;
}

void EventPump::Run() {
  while (RunOnce(absl::InfiniteDuration())) {
  }
}

void EventPump::Take(const VmUpdate& update) {
  if (update.event.has_value()) {
    const VmRef* const vm = update.status.has_value() ? &update.status->ref : nullptr;
    builder_.Add(EventToProto(*update.event, vm, ++newest_));
    if (vm != nullptr) last_of_run_[vm->run_id] = newest_;
  }
  if (!update.status.has_value()) return;
  if (update.forget) {
    step_.vms.push_back({nullptr, *update.status});
    return;
  }
  step_.vms.push_back(
      {std::make_shared<const VmRecord>(*update.status, LastSequenceOf(*update.status)), {}});
}

uint64_t EventPump::LastSequenceOf(const VmStatus& status) const {
  if (status.ref.run_id.empty()) return 0;
  const auto pending = last_of_run_.find(status.ref.run_id);
  if (pending != last_of_run_.end()) return pending->second;
  const VmRecordPtr record = store_->FindVm({status.ref.name, status.ref.run_id, ""});
  return record == nullptr ? 0 : record->last_sequence();
}

void EventPump::Flush() {
  const bool events = !builder_.empty();
  if (events) step_.blocks.push_back(builder_.Finish());
  if (step_.blocks.empty() && step_.vms.empty()) return;
  store_->Publish(std::exchange(step_, {}));
  last_of_run_.clear();
  if (events) published_();
}

}  // namespace vmeventd
