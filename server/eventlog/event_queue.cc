#include "server/eventlog/event_queue.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// Returns whether the event is never dropped: each run has one of each kind, or somebody asked for
// it.
bool MustKeep(const VmEvent& event) {
  return event.type == EventType::kStarted || event.type == EventType::kStopped ||
         event.type == EventType::kIntentDeclared || event.type == EventType::kIntentWithdrawn;
}

bool IsEvent(const VmUpdate& update, EventType type) {
  return update.event.has_value() && update.event->type == type;
}

// Recognises an update that was dropped after it was queued.
bool WasDropped(const VmUpdate& update) {
  return !update.status.has_value() && !update.event.has_value() && update.on_public == nullptr;
}

size_t SizeOf(const Rare<Intent>& intent) {
  if (!intent.has_value()) return 0;
  return sizeof(*intent) + intent->intent_id.size() + intent->actor.size() + intent->reason.size();
}

size_t SizeOf(const Rare<GuestPanic>& panic) { return panic.has_value() ? sizeof(*panic) : 0; }

size_t SizeOf(const Rare<ShutdownDetail>& detail) {
  if (!detail.has_value()) return 0;
  size_t size =
      sizeof(*detail) + detail->rule.size() + SizeOf(detail->intent) + SizeOf(detail->panic);
  for (const EvidenceEntry& entry : detail->evidence) size += sizeof(entry) + entry.what.size();
  return size;
}

// Approximate memory of an update.
size_t SizeOf(const VmUpdate& update) {
  size_t size = sizeof(update);
  if (const auto& status = update.status; status.has_value()) {
    for (const SharedText* text :
         {&status->ref.name, &status->ref.run_id, &status->ref.uuid, &status->ref.source,
          &status->qemu_version, &status->monitor_path}) {
      size += text->str().size();
    }
    size += SizeOf(status->shutdown) + SizeOf(status->intent);
    for (const std::string& problem : status->problems)
      size += sizeof(std::string) + problem.size();
    for (const auto& [key, value] : status->ref.labels)
      size += 2 * sizeof(std::string) + key.size() + value.size();
  }
  if (const auto& event = update.event; event.has_value()) {
    size += event->qmp_event.size() + event->detail_json.size() + event->message.size() +
            SizeOf(event->shutdown) + SizeOf(event->intent) + SizeOf(event->panic);
  }
  if (update.saved_run.has_value()) size += update.saved_run->size();
  return size;
}

// A VM without a run_id is known by its monitor_path, as VmUpdate says.
const SharedText& KeyOf(const VmStatus& status) {
  return status.ref.run_id.empty() ? status.monitor_path : status.ref.run_id;
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
  const bool full = updates_.size() >= max_updates_ || bytes_ >= max_bytes_;
  if (full) return PushWhenFull(std::move(update));
  // The queue was full before: a waiting status is older, and no newer one may take its place.
  if (!waiting_status_.empty() && update.status.has_value()) {
    waiting_status_.erase(KeyOf(*update.status));
  }
  Append(std::move(update));
}

void EventQueue::Append(VmUpdate&& update) {
  if (update.status.has_value() && !update.status->ref.run_id.empty()) {
    const SharedText& run_id = update.status->ref.run_id;
    if (IsEvent(update, EventType::kStarted)) new_runs_[run_id].clear();
    const auto run = new_runs_.find(run_id);
    if (run != new_runs_.end()) run->second.push_back(updates_.size());
  }
  bytes_ += SizeOf(update);
  if (updates_.empty()) updates_.reserve(last_taken_);
  updates_.push_back(std::move(update));
}

void EventQueue::CountDropped(const VmEvent& event) {
  ++dropped_;
  ++dropped_unreported_;
  last_drop_time_ = event.observe_time;
}

bool EventQueue::DropWholeRun(const VmUpdate& stopped) {
  const auto run = new_runs_.find(stopped.status->ref.run_id);
  if (run == new_runs_.end()) return false;
  for (const size_t at : run->second) {
    if (updates_[at].on_public != nullptr) return false;  // somebody waits for it
  }
  for (const size_t at : run->second) {
    if (updates_[at].event.has_value()) CountDropped(*updates_[at].event);
    bytes_ -= SizeOf(updates_[at]);
    updates_[at] = VmUpdate();
    bytes_ += SizeOf(updates_[at]);
  }
  CountDropped(*stopped.event);
  empty_ += run->second.size();
  waiting_status_.erase(KeyOf(*stopped.status));
  new_runs_.erase(run);
  if (empty_ > updates_.size() / 2) Compact();
  return true;
}

void EventQueue::Compact() {
  std::vector<VmUpdate> left;
  std::vector<size_t> places(updates_.size());  // place of each update in `left`
  for (size_t at = 0; at < updates_.size(); ++at) {
    places[at] = left.size();
    if (!WasDropped(updates_[at])) left.push_back(std::move(updates_[at]));
  }
  for (auto& [key, at] : waiting_status_) at = places[at];
  for (auto& [run_id, all] : new_runs_) {
    for (size_t& at : all) at = places[at];
  }
  bytes_ -= empty_ * SizeOf(VmUpdate());
  empty_ = 0;
  updates_ = std::move(left);
}

void EventQueue::PushWhenFull(VmUpdate&& update) {
  if (IsEvent(update, EventType::kStopped) && update.status.has_value() &&
      update.on_public == nullptr && DropWholeRun(update)) {
    return;
  }
  const bool keep =
      update.on_public != nullptr || (update.event.has_value() && MustKeep(*update.event));
  if (update.event.has_value() && !keep) {
    CountDropped(*update.event);
    update.event.reset();
  }
  if (!update.status.has_value()) {
    if (keep) Append(std::move(update));
    return;
  }
  // A status alone takes the place of the one that waits already, so that a VM that changes for
  // ever fills one place. After a kept update it needs another place.
  const SharedText key = KeyOf(*update.status);
  if (keep) {
    waiting_status_.erase(key);
  } else if (const auto [it, added] = waiting_status_.try_emplace(key, updates_.size()); !added) {
    VmUpdate& waiting = updates_[it->second];
    if (!update.saved_run.has_value()) update.saved_run = std::move(waiting.saved_run);
    bytes_ -= SizeOf(waiting);
    waiting = std::move(update);
    bytes_ += SizeOf(waiting);
    return;
  }
  Append(std::move(update));
}

void EventQueue::SetDirectories(std::vector<WatchedDirectory> directories) {
  auto shared = std::make_shared<const std::vector<WatchedDirectory>>(std::move(directories));
  {
    const MutexLock lock(&mutex_);
    directories_ = std::move(shared);
    woken_ = true;
  }
  changed_.NotifyOne();
}

EventQueue::Batch EventQueue::Pop(absl::Duration timeout, bool take_updates) {
  const MutexLock lock(&mutex_);
  WaitUntil(&changed_, &mutex_, timeout,
            [this, take_updates]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
              return (take_updates && !updates_.empty()) || closed_ || woken_;
            });
  woken_ = false;
  Batch batch;
  batch.closed = closed_;
  if (!take_updates) return batch;
  batch.updates.swap(updates_);
  last_taken_ = batch.updates.size();
  bytes_ = 0;
  empty_ = 0;
  waiting_status_.clear();
  new_runs_.clear();
  std::erase_if(batch.updates, WasDropped);
  if (dropped_unreported_ > 0) {
    VmEvent gap;
    gap.type = EventType::kGap;
    gap.observe_time = last_drop_time_;
    gap.message =
        absl::StrCat(dropped_unreported_, " events of VMs were left out: more than ", max_updates_,
                     " updates or ", max_bytes_ >> 20, " MiB of them waited to be recorded");
    batch.updates.push_back({std::nullopt, std::move(gap)});
    dropped_unreported_ = 0;
  }
  return batch;
}

void EventQueue::Close() {
  {
    const MutexLock lock(&mutex_);
    closed_ = true;
  }
  changed_.NotifyAll();
}

void EventQueue::Wake() {
  {
    const MutexLock lock(&mutex_);
    woken_ = true;
  }
  changed_.NotifyAll();
}

std::vector<WatchedDirectory> EventQueue::directories() const {
  std::shared_ptr<const std::vector<WatchedDirectory>> directories;
  {
    const MutexLock lock(&mutex_);
    directories = directories_;
  }
  return directories == nullptr ? std::vector<WatchedDirectory>() : *directories;
}

}  // namespace vmeventd
