#include <utility>
#include <vector>

#include "server/eventlog/event_log.h"
#include "server/eventlog/evidence_types.h"
#include "server/events/logged_event.h"
#include "server/events/vm_record.h"
#include "server/events/vm_registry.h"

// Recording: gives sequences to what the watcher pushes.

namespace vmeventd {

void EventLog::AddGap(const NodeGap& gap) {
  recorder_.AddGap(gap, clock_->Now().wall);
  Submit();
}

void EventLog::Push(VmUpdate update) {
  pushed_.push_back(std::move(update));
  if (pushed_.size() >= kMaxPushed) EndTurn();
}

void EventLog::EndTurn() {
  if (pushed_.empty()) return;
  std::vector<VmUpdate> updates = std::exchange(pushed_, {});
  const MutexLock recording(&recording_);
  {
    const MutexLock lock(&mutex_);
    recorder_.Published(recent_.newest());
    for (VmUpdate& update : updates) {
      if (!update.event.has_value()) continue;
      const bool dropped_last = update.on_public || IsEvidence(update.event->type());
      if (!backlog_.Accept(dropped_last)) update.event.reset();
    }
  }
  const auto find_last = [this](const v1::VmRef& run) {
    const VmRecordPtr record = Vms([&](const VmRegistry& vms, uint64_t) {
      return vms.Find({run.name(), run.run_id(), ""});
    });
    return record == nullptr ? 0 : record->last_sequence;
  };
  for (VmUpdate& update : updates) recorder_.AddUpdate(std::move(update), find_last);
  Submit();
}

void EventLog::Watched(absl::Time until) {
  const MutexLock recording(&recording_);
  const MutexLock lock(&mutex_);
  backlog_.Watched(until, recorder_.turns());
  woken_ = true;
  changed_.NotifyOne();
}

void EventLog::TakeHandedEvents(JournalBatch unwritten) {
  const MutexLock turn(&turn_);
  const MutexLock recording(&recording_);
  // Adds each event by itself, so that the oldest can be dropped.
  for (EventPtr& event : unwritten.events) {
    recorder_.AddHanded(std::move(event));
    Submit();
  }
  recorder_.AddHandedStops(std::move(unwritten.stops));
  Submit();
  PublishDue();  // once more, because there is no journal to wait for
}

void EventLog::Submit() {
  if (recorder_.empty()) return;
  Recorder::Turn recorded = recorder_.TakeTurn(clock_->Now().monotonic);
  UnpublishedTurn& unpublished = recorded.unpublished;
  const MutexLock lock(&mutex_);
  if (unpublished.has_batch) {
    recent_.Add(recorded.batch.events);
    backlog_.Add({unpublished.turn, unpublished.added, std::move(recorded.batch)});
  }
  backlog_.Reserve(recorder_.last_assigned());
  // While one pump writes, the other one knows when to publish what waits.
  const bool wakes = !backlog_.writing() || unpublished_.empty();
  unpublished_.Add(std::move(unpublished));
  woken_ = woken_ || wakes;
  if (wakes) changed_.NotifyOne();
}

}  // namespace vmeventd
