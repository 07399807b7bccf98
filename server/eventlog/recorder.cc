#include "server/eventlog/recorder.h"

#include <cstddef>
#include <utility>

#include "server/events/complete_event.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

void Recorder::AddUpdate(VmUpdate update, FindLast find_last) {
  if (update.on_public) unpublished_.on_public.push_back(std::move(update.on_public));
  v1::Vm* const status = update.status.has_value() ? &*update.status : nullptr;
  const bool has_event = update.event.has_value();
  if (has_event) AddEvent(*std::move(update.event), status);
  if (update.observed.has_value()) unpublished_.observed.push_back(*update.observed);
  if (status == nullptr) return;
  if (const std::string& run_id = status->ref().run_id(); !run_id.empty()) {
    const auto [of_run, is_first] = last_sequences_.try_emplace(run_id, 0);
    if (has_event) {
      of_run->second = last_assigned_;
    } else if (is_first) {
      of_run->second = find_last(status->ref());
    }
    status->set_last_sequence(of_run->second);
    if (update.saved_run.has_value()) {
      batch_.Put(run_id, {*std::move(update.saved_run), of_run->second});
    }
  }
  if (status->state() == v1::VM_STATE_STOPPED) {
    batch_.stops[status->last_sequence()] = std::make_shared<const v1::Vm>(*status);
  }
  unpublished_.vms.push_back(std::move(*status));
}

void Recorder::AddGap(const NodeGap& gap, absl::Time now) {
  v1::Event event = MakeGap(gap.reason, gap.message, now);
  if (!gap.missing.empty()) {
    event.mutable_missing()->set_first(gap.missing.first);
    event.mutable_missing()->set_last(gap.missing.last);
  }
  AddEvent(std::move(event), nullptr);
}

void Recorder::AddHandedStops(std::map<uint64_t, std::shared_ptr<const v1::Vm>> stops) {
  for (const auto& [sequence, vm] : stops) unpublished_.vms.push_back(*vm);
  batch_.stops = std::move(stops);
}

void Recorder::AddEvent(v1::Event event, const v1::Vm* vm) {
  CompleteEvent(vm, ++last_assigned_, &event);
  meters_->events[static_cast<size_t>(event.type())].Add();
  if (event.type() == EventType::kStopped && event.has_shutdown()) {
    // Not measured: QEMU's time in a STOPPED is that of an earlier event.
    meters_
        ->stops[static_cast<size_t>(event.shutdown().shutdown_class())]
               [static_cast<size_t>(event.shutdown().cause())]
        .Add();
  } else if (event.has_qemu_time()) {
    meters_->qemu_to_observed.Observe(FromTimestamp(event.observe_time()) -
                                      FromTimestamp(event.qemu_time()));
  }
  if (event.type() == EventType::kStopped && vm != nullptr) {
    unpublished_.stop_lines.emplace_back(event);
  }
  batch_.Put(Logged(std::move(event)));
}

Recorder::Turn Recorder::TakeTurn(absl::Duration now) {
  Turn ended{std::exchange(unpublished_, {}), std::exchange(batch_, {})};
  ended.unpublished.turn = ++turns_;
  ended.unpublished.added = now;
  ended.unpublished.has_batch = !ended.batch.empty();
  ended.unpublished.newest = last_assigned_;
  return ended;
}

}  // namespace vmeventd
