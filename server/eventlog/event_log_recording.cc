#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "server/eventlog/event_log.h"
#include "server/eventlog/evidence_types.h"
#include "server/events/event_codec.h"

// Recording: what the watcher pushes gets its sequences.

namespace vmeventd {

void EventLog::AddGap(GapReason reason, const std::string& message, const Hole& missing) {
  v1::Event gap = MakeGap(reason, message, clock_->Now().wall);
  if (!missing.empty()) {
    gap.mutable_missing()->set_first(missing.first);
    gap.mutable_missing()->set_last(missing.last);
  }
  AddEvent(std::move(gap), nullptr);
  Submit();
}

void EventLog::AddEvent(v1::Event event, const v1::Vm* vm) {
  CompleteEvent(vm, ++last_assigned_, &event);
  meters_.events[static_cast<size_t>(event.type())].Add();
  if (event.type() == EventType::kStopped && event.has_shutdown()) {
    // QEMU's time in it is that of an earlier event.
    meters_
        .stops[static_cast<size_t>(event.shutdown().shutdown_class())]
              [static_cast<size_t>(event.shutdown().cause())]
        .Add();
  } else if (event.has_qemu_time()) {
    meters_.qemu_to_observed.Observe(FromTimestamp(event.observe_time()) -
                                     FromTimestamp(event.qemu_time()));
  }
  if (event.type() == EventType::kStopped && vm != nullptr) {
    unsubmitted_.stop_lines.emplace_back(event);
  }
  batch_.Put(Logged(std::move(event)));
}

void EventLog::Push(VmUpdate update) {
  pushed_.push_back(std::move(update));
  if (pushed_.size() >= kMaxPushed) EndTurn();
}

void EventLog::EndTurn() {
  if (pushed_.empty()) return;
  std::vector<VmUpdate> updates = std::exchange(pushed_, {});
  const MutexLock recording(&recording_);
  Backlog::Room room = Backlog::Room::kForAll;
  {
    const MutexLock lock(&mutex_);
    if (newest_ == last_assigned_) last_sequences_.clear();
    room = backlog_.room();
  }
  uint64_t dropped = 0;
  for (VmUpdate& update : updates) {
    const bool drops =
        update.event.has_value() && room != Backlog::Room::kForAll &&
        (room == Backlog::Room::kNone || !(update.on_public || IsEvidence(update.event->type())));
    if (drops) update.event.reset();
    dropped += drops ? 1 : 0;
    Take(&update);
  }
  Submit();
  if (dropped == 0) return;
  const MutexLock lock(&mutex_);
  backlog_.CountRefused(dropped);
}

void EventLog::Watched(absl::Time until) {
  const MutexLock recording(&recording_);
  const MutexLock lock(&mutex_);
  backlog_.Watched(until, turns_);
  woken_ = true;
  changed_.NotifyOne();
}

void EventLog::Take(VmUpdate* update) {
  if (update->on_public) unsubmitted_.on_public.push_back(std::move(update->on_public));
  v1::Vm* const status = update->status.has_value() ? &*update->status : nullptr;
  if (update->event.has_value()) AddEvent(*std::move(update->event), status);
  if (update->observed.has_value()) unsubmitted_.observed.push_back(*update->observed);
  if (status == nullptr) return;
  if (const std::string& run_id = status->ref().run_id(); !run_id.empty()) {
    const auto [of_run, is_first] = last_sequences_.try_emplace(run_id, 0);
    if (update->event.has_value()) {
      of_run->second = last_assigned_;
    } else if (is_first) {
      const VmRecordPtr record = Vms([&](const auto& vms, uint64_t) {
        return vms.Find({status->ref().name(), run_id, ""});
      });
      if (record != nullptr) of_run->second = record->last_sequence;
    }
    status->set_last_sequence(of_run->second);
    if (update->saved_run.has_value()) {
      batch_.Put(run_id, {*std::move(update->saved_run), of_run->second});
    }
  }
  if (status->state() == v1::VM_STATE_STOPPED) {
    batch_.stops[status->last_sequence()] = std::make_shared<const v1::Vm>(*status);
  }
  unsubmitted_.vms.push_back(std::move(*status));
}

void EventLog::Submit() {
  if (batch_.empty() && unsubmitted_.vms.empty() && unsubmitted_.on_public.empty()) return;
  Unpublished taken = std::exchange(unsubmitted_, {});
  taken.turn = ++turns_;
  taken.added = clock_->Now().monotonic;
  taken.has_batch = !batch_.empty();
  taken.newest = last_assigned_;
  const MutexLock lock(&mutex_);
  if (taken.has_batch) {
    for (const EventPtr& event : batch_.events) memory_ += event->memory();
    ring_.insert(ring_.end(), batch_.events.begin(), batch_.events.end());
    backlog_.Add({taken.turn, taken.added, std::exchange(batch_, {})});
  }
  backlog_.Reserve(last_assigned_);
  // While one pump writes, the other one knows when to publish what waits.
  const bool wakes = !backlog_.writing() || unpublished_.empty();
  unpublished_.push_back(std::move(taken));
  woken_ = woken_ || wakes;
  if (wakes) changed_.NotifyOne();
}

}  // namespace vmeventd
