#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/system.h"
#include "server/eventlog/event_log.h"
#include "server/events/event_codec.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

void EventLog::RunPump() {
  SetThreadName("pump");
  const auto ends = [this] {
    const MutexLock lock(&mutex_);
    return stopped_ || closed_;
  };
  while (!ends()) {
    Step(absl::InfiniteDuration());
    while (StepWriter()) Step();
  }
  Wake();  // the other one ends too
}

absl::Duration EventLog::NextPump() const {
  const MutexLock lock(&mutex_);
  if (close_at_.has_value()) return absl::InfiniteDuration();
  if (gap_is_due_) return absl::ZeroDuration();
  absl::Duration next = absl::InfiniteDuration();
  if (!unpublished_.empty()) next = unpublished_.front().added + kPatience;
  if (reported_writable_) next = std::min(next, since_ + kMaxCommit);
  return next;
}

bool EventLog::Step(absl::Duration timeout) {
  const absl::Duration next = std::min(NextPump(), NextWrite());
  timeout = std::min(timeout, std::max(absl::ZeroDuration(), next - clock_->Now().monotonic));
  queue_.Wait(timeout, [this] { return HasRoom(); });
  const MutexLock turn(&turn_);
  EventQueue::Batch taken = queue_.Pop(HasRoom());
  {
    const MutexLock lock(&mutex_);
    if (close_at_.has_value()) return false;
  }
  TakeOpened();
  NameHole();
  for (VmUpdate& update : taken.updates) Take(&update);
  EncodeStatuses(&taken.updates);
  Submit();
  const bool published = PublishDue();
  const uint64_t durable = range().durable;
  const bool more_durable = std::exchange(reported_durable_, durable) != durable;
  ReportWritability();
  for (const Subscriber& subscriber : subscribers_) subscriber(published || more_durable);
  const MutexLock lock(&mutex_);
  if (!taken.closed || !unpublished_.empty()) return true;
  close_at_ = given_;
  if (absl::IsDataLoss(status_)) closed_ = true;
  retry_at_ = absl::ZeroDuration();
  closing_.NotifyAll();
  return false;
}

void EventLog::ReportWritability() {
  std::string problem;
  bool writable = true;
  {
    const MutexLock lock(&mutex_);
    writable = IsWritable();
    if (std::exchange(reported_writable_, writable) == writable) return;
    problem = Problem();
  }
  const absl::Duration now = clock_->Now().monotonic;
  if (writable) {
    spdlog::info("the journal can be written again, after {}",
                 absl::FormatDuration(now - unwritable_since_));
  } else {
    unwritable_since_ = now;
    spdlog::error("the journal cannot be written: {}; new events are not durable", problem);
  }
}

void EventLog::NameHole() {
  Hole hole;
  {
    const MutexLock lock(&mutex_);
    if (!std::exchange(gap_is_due_, false)) return;
    named_by_ = given_ + 1;
    hole = hole_;
  }
  const std::string message =
      hole.last <= begin_.through
          ? absl::StrCat("any events after ", hole.first - 1,
                         " that were not written when vmeventd ended are lost; new sequences "
                         "begin at ",
                         hole.last + 1)
          : absl::StrCat("the events ", hole.first, " to ", hole.last, " are lost: more than ",
                         JournalOptions::kMaxBacklogBytes >> 20, " MiB waited for the disk");
  PublishGap(GapReason::kNotWritten, message, hole);
}

void EventLog::TakeOpened() {
  std::optional<Journal::Opened> opened;
  {
    const MutexLock lock(&mutex_);
    if (!opened_.has_value()) return;
    opened = std::exchange(opened_, std::nullopt);
    std::vector<VmRecordPtr> vms;
    for (const v1::Vm& vm : opened->stops) vms.push_back(std::make_shared<const VmRecord>(vm));
    PutVmsLocked(std::move(vms));
  }
  if (!opened->replaced.empty()) {
    PublishGap(GapReason::kJournalReplaced, opened->replaced);
  } else if (!opened->runs.empty() && !has_handed_) {
    PublishGap(GapReason::kJournalLate,
               "the journal could not be opened at the start: VMs that ran before and have not "
               "started again since have no STOPPED");
  }
}

void EventLog::PublishGap(GapReason reason, const std::string& message, const Hole& missing) {
  v1::Event gap = MakeGap(reason, message, clock_->Now().wall);
  if (!missing.empty()) {
    gap.mutable_missing()->set_first(missing.first);
    gap.mutable_missing()->set_last(missing.last);
  }
  AddEvent(std::move(gap), nullptr);
  Submit();
}

void EventLog::AddEvent(v1::Event event, const v1::Vm* vm) {
  CompleteEvent(vm, ++given_, &event);
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
    taking_.stop_lines.emplace_back(event);
  }
  batch_.events.push_back(Logged(std::move(event)));
}

void EventLog::Take(VmUpdate* update) {
  if (update->on_public) taking_.on_public.push_back(std::move(update->on_public));
  const v1::Vm* const status = update->status.has_value() ? &*update->status : nullptr;
  if (update->event.has_value()) AddEvent(*std::move(update->event), status);
  if (update->observed.has_value()) taking_.observed.push_back(*update->observed);
  if (status == nullptr || status->ref().run_id().empty()) return;
  const std::string& run_id = status->ref().run_id();
  const auto [of_run, is_first] = last_sequences_.try_emplace(run_id, 0);
  if (update->event.has_value()) {
    of_run->second = given_;
  } else if (is_first) {
    const VmRecordPtr record = FindVm({status->ref().name(), run_id, ""});
    if (record != nullptr) of_run->second = record->last_sequence;
  }
  if (update->saved_run.has_value()) {
    batch_.runs[run_id] = {*std::move(update->saved_run), of_run->second};
  }
}

void EventLog::EncodeStatuses(std::vector<VmUpdate>* updates) {
  std::vector<VmRecordPtr>& vms = taking_.vms;
  absl::flat_hash_set<absl::string_view> encoded_runs;
  for (size_t i = updates->size(); i > 0; --i) {
    std::optional<v1::Vm>& status = (*updates)[i - 1].status;
    if (!status.has_value()) continue;
    // Each update without a run_id is a VM of its own.
    const std::string& run_id = status->ref().run_id();
    if (!run_id.empty() && !encoded_runs.insert(run_id).second) continue;
    status->set_last_sequence(run_id.empty() ? 0 : last_sequences_[run_id]);
    vms.push_back(std::make_shared<const VmRecord>(*status));
  }
  std::reverse(vms.begin(), vms.end());
  for (const VmRecordPtr& vm : vms) {
    if (vm->stopped()) batch_.stops[vm->last_sequence] = vm;
  }
}

void EventLog::Submit() {
  if (batch_.empty() && taking_.vms.empty() && taking_.on_public.empty()) return;
  Unpublished taken = std::exchange(taking_, {});
  taken.turn = ++turns_;
  taken.added = clock_->Now().monotonic;
  taken.has_batch = !batch_.empty();
  taken.newest = given_;
  const MutexLock lock(&mutex_);
  if (taken.has_batch) {
    for (const EventPtr& event : batch_.events) memory_ += event->memory();
    ring_.insert(ring_.end(), batch_.events.begin(), batch_.events.end());
    const size_t bytes = batch_.memory();
    unwritten_.push_back({taken.turn, taken.added, std::exchange(batch_, {}), bytes});
    bytes_ += bytes;
    if (since_ == absl::InfiniteDuration()) since_ = taken.added;
  }
  unpublished_.push_back(std::move(taken));
  if (given_ + kReservedSequences / 2 >= wanted_mark_) wanted_mark_ = given_ + kReservedSequences;
  while (bytes_ > options_.max_backlog_bytes && DropOldest()) {
  }
}

bool EventLog::PublishDue() {
  for (bool published = false;;) {
    Unpublished due;
    bool durable = false;
    const absl::Duration now = clock_->Now().monotonic;
    {
      const MutexLock lock(&mutex_);
      if (unpublished_.empty()) {
        last_sequences_.clear();
        return published;
      }
      Unpublished& next = unpublished_.front();
      durable = unwritten_.empty() || next.turn < unwritten_.front().turn;
      const bool waits = !durable && next.has_batch;
      if (waits && IsWritable() && now < next.added + kPatience) return published;
      const auto end = InMemory(next.newest + 1);
      for (auto event = InMemory(newest_ + 1); event != end; ++event) {
        (*event)->published = now;
        published = true;
      }
      newest_ = next.newest;
      published_durable_ = durable;
      PutVmsLocked(std::move(next.vms));
      due = std::move(next);
      unpublished_.pop_front();
      Trim();
    }
    if (durable) {
      for (const absl::Duration at : due.observed) meters_.observed_to_durable.Observe(now - at);
    }
    // These may ask whether their event is durable.
    for (const auto& on_public : due.on_public) on_public();
    for (const StopLine& line : due.stop_lines) line.Log();
  }
}

}  // namespace vmeventd
