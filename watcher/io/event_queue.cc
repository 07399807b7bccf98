#include "watcher/io/event_queue.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// The events that are kept whatever happens: without them a run's story would be wrong.
bool MustKeep(const VmEvent& event) {
  return event.type == EventType::kStarted || event.type == EventType::kStopped ||
         event.type == EventType::kGuestShutdown || event.type == EventType::kIntentDeclared ||
         event.type == EventType::kIntentWithdrawn || event.type == EventType::kGap;
}

// A VM without a run_id is known by its monitor_path, as VmUpdate says.
const std::string& KeyOf(const VmStatus& status) {
  return status.ref.run_id.empty() ? status.monitor_path : status.ref.run_id;
}

absl::Duration SteadyNow() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace

void EventQueue::Push(VmUpdate update) {
  MutexLock lock(&mutex_);
  if (updates_.size() < max_updates_) {
    updates_.push_back(std::move(update));
  } else {
    PushWhenFull(std::move(update));
  }
  changed_.NotifyOne();
}

void EventQueue::PushWhenFull(VmUpdate update) {
  const bool keep = update.forget || update.told != nullptr ||
                    (update.event.has_value() && MustKeep(*update.event));
  if (update.event.has_value() && !keep) {
    ++dropped_;
    ++dropped_untold_;
    last_drop_time_ = update.event->observe_time;
    update.event.reset();
  }
  if (!update.status.has_value()) {
    if (keep) updates_.push_back(std::move(update));
    return;
  }
  // Of statuses alone the newest says all: it takes the place of the one that waits already, so
  // that a VM that changes for ever fills one place. After a kept update it needs a place anew.
  const std::string key = KeyOf(*update.status);
  if (keep) {
    waiting_status_.erase(key);
  } else if (const auto [it, added] = waiting_status_.try_emplace(key, updates_.size()); !added) {
    VmUpdate& waiting = updates_[it->second];
    if (!update.saved_run.has_value()) update.saved_run = std::move(waiting.saved_run);
    waiting = std::move(update);
    return;
  }
  updates_.push_back(std::move(update));
}

void EventQueue::SetDirectories(std::vector<WatchedDirectory> directories) {
  MutexLock lock(&mutex_);
  directories_ = std::move(directories);
  directories_changed_ = true;
  changed_.NotifyOne();
}

EventQueue::Batch EventQueue::Pop(absl::Duration timeout) {
  const absl::Duration deadline = SteadyNow() + timeout;
  MutexLock lock(&mutex_);
  while (updates_.empty() && !directories_changed_ && !closed_ && !woken_) {
    const absl::Duration left = deadline - SteadyNow();
    if (left <= absl::ZeroDuration()) break;
    changed_.WaitFor(&mutex_, left);
  }
  Batch batch;
  batch.updates.swap(updates_);
  waiting_status_.clear();
  if (dropped_untold_ > 0) {
    VmEvent gap;
    gap.type = EventType::kGap;
    gap.observe_time = last_drop_time_;
    gap.message = absl::StrCat(dropped_untold_, " events of VMs were left out: more than ",
                               max_updates_, " waited to be recorded");
    batch.updates.push_back({std::nullopt, std::move(gap), false});
    dropped_untold_ = 0;
  }
  batch.directories = directories_;
  directories_changed_ = false;
  woken_ = false;
  batch.closed = closed_;
  return batch;
}

void EventQueue::Close() {
  MutexLock lock(&mutex_);
  closed_ = true;
  changed_.NotifyAll();
}

void EventQueue::Wake() {
  MutexLock lock(&mutex_);
  woken_ = true;
  changed_.NotifyAll();
}

size_t EventQueue::depth() const {
  MutexLock lock(&mutex_);
  return updates_.size();
}

uint64_t EventQueue::dropped_events() const {
  MutexLock lock(&mutex_);
  return dropped_;
}

}  // namespace vmeventd
