#include "server/eventlog/event_queue.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// Returns whether the event is dropped last: each run has one of each kind, or somebody asked for
// it.
bool IsEvidence(const v1::Event& event) {
  return event.type() == EventType::kStarted || event.type() == EventType::kStopped ||
         event.type() == EventType::kIntentDeclared || event.type() == EventType::kIntentWithdrawn;
}

// Approximate memory of an update: what has no small bound of its own, and a round sum for the
// rest.
size_t SizeOf(const VmUpdate& update) {
  size_t size = sizeof(update) + 1'000;
  if (update.saved_run.has_value()) size += update.saved_run->size();
  if (!update.event.has_value()) return size;
  if (update.event->has_shutdown()) size += 2'000;
  return size + update.event->detail_json().size() + update.event->message().size();
}

// A VM without a run_id is known by its monitor_path: see VmUpdate.
const std::string& KeyOf(const v1::Vm& status) {
  return status.ref().run_id().empty() ? status.monitor_path() : status.ref().run_id();
}

}  // namespace

void EventQueue::Push(VmUpdate update) {
  {
    const MutexLock lock(&mutex_);
    PushLocked(std::move(update));
    if (++held_back_ < kMaxHeldBack) return;
    held_back_ = 0;
  }
  changed_.NotifyOne();
}

void EventQueue::EndTurn() {
  {
    const MutexLock lock(&mutex_);
    if (std::exchange(held_back_, 0) == 0) return;
  }
  changed_.NotifyOne();
}

void EventQueue::PushLocked(VmUpdate&& update) {
  const auto beyond = [&](size_t times) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return updates_.size() + left_.size() >= times * max_updates_ || bytes_ >= times * kMaxBytes;
  };
  const bool evidence =
      update.on_public != nullptr || (update.event.has_value() && IsEvidence(*update.event));
  if (beyond(evidence ? 2 : 1)) {
    if (update.event.has_value()) {
      ++dropped_;
      ++dropped_unreported_;
      last_drop_time_ = FromTimestamp(update.event->observe_time());
      update.event.reset();
    }
    // Somebody may wait for it all the same.
    if (!update.status.has_value() && update.on_public == nullptr) return;
  }
  const std::string key = update.status.has_value() ? std::string(KeyOf(*update.status)) : "";
  const auto older = left_.find(key);
  if (older != left_.end()) {
    bytes_ -= SizeOf(older->second);
    if (!update.saved_run.has_value()) update.saved_run = std::move(older->second.saved_run);
    left_.erase(older);
  }
  const bool left = !update.event.has_value() && update.on_public == nullptr && beyond(1);
  bytes_ += SizeOf(update);
  if (left) {
    left_[key] = std::move(update);
    return;
  }
  updates_.push_back(std::move(update));
}

void EventQueue::Wait(absl::Duration timeout, absl::FunctionRef<bool()> may_take) {
  const MutexLock lock(&mutex_);
  WaitUntil(&changed_, &mutex_, timeout, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return ReadyLocked(true) && (woken_ || may_take());
  });
}

EventQueue::Batch EventQueue::Pop(bool take) {
  const MutexLock lock(&mutex_);
  woken_ = false;
  Batch batch;
  for (size_t bytes = 0; take && !updates_.empty() && bytes < kBatchBytes; updates_.pop_front()) {
    const size_t size = SizeOf(updates_.front());
    bytes += size;
    bytes_ -= size;
    batch.updates.push_back(std::move(updates_.front()));
  }
  if (take && updates_.empty()) {
    for (auto& [key, update] : std::exchange(left_, {})) batch.updates.push_back(std::move(update));
    bytes_ = 0;
  }
  batch.closed = closed_ && updates_.empty() && left_.empty();
  if (take && updates_.empty() && dropped_unreported_ > 0) {
    batch.updates.push_back(
        {std::nullopt,
         MakeGap(GapReason::kQueueFull,
                 absl::StrCat(dropped_unreported_, " events of VMs were dropped: more than ",
                              max_updates_, " updates or ", kMaxBytes >> 20,
                              " MiB of them waited to be recorded"),
                 last_drop_time_)});
    dropped_unreported_ = 0;
  }
  if (!updates_.empty()) changed_.NotifyOne();
  return batch;
}

void EventQueue::Close() {
  {
    const MutexLock lock(&mutex_);
    closed_ = true;
  }
  Wake();
}

void EventQueue::Wake() {
  {
    const MutexLock lock(&mutex_);
    woken_ = true;
  }
  changed_.NotifyAll();
}

}  // namespace vmeventd
