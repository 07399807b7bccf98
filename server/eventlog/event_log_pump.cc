#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/thread_name.h"
#include "server/eventlog/event_log.h"
#include "server/events/vm_record.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

void EventLog::RunPump() {
  SetThreadName("pump");
  const auto ends = [this] {
    const MutexLock lock(&mutex_);
    return stopped_ || backlog_.closed();
  };
  while (!ends()) {
    Step(absl::InfiniteDuration());
    while (StepWriter()) Step();
  }
  Wake();  // so that the writer's thread ends too
}

absl::Duration EventLog::NextPump() const {
  if (backlog_.close_at().has_value()) return absl::InfiniteDuration();
  if (backlog_.GapIsDue() || opened_.has_value() || (pushed_all_ && unpublished_.empty())) {
    return absl::ZeroDuration();
  }
  const absl::Duration now = clock_->Now().monotonic;
  return std::min(unpublished_.NextDue(backlog_, now),
                  backlog_.NextChange(reported_writable_, now));
}

bool EventLog::Step(absl::Duration timeout) {
  {
    const MutexLock lock(&mutex_);
    const absl::Duration next = std::min(NextPump(), backlog_.NextWrite());
    timeout = std::min(timeout, std::max(absl::ZeroDuration(), next - clock_->Now().monotonic));
    WaitUntil(&changed_, &mutex_, timeout,
              [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return woken_; });
    woken_ = false;
  }
  const MutexLock turn(&turn_);
  bool gap_is_due = false;
  {
    const MutexLock lock(&mutex_);
    if (backlog_.close_at().has_value()) return false;
    gap_is_due = backlog_.GapIsDue();
  }
  TakeOpened();
  if (gap_is_due) AddDueGaps();
  const bool published = PublishDue();
  const EventRange now = range();
  const std::pair durable(now.committed, now.durable);  // a hole holds the latter up
  const bool more_durable = std::exchange(reported_durable_, durable) != durable;
  ReportWritability();
  for (const Subscriber& subscriber : subscribers_) subscriber(published || more_durable);
  const MutexLock lock(&mutex_);
  DropSome(clock_->Now().monotonic);
  if (!pushed_all_ || !unpublished_.empty()) return true;
  backlog_.CloseAt(recent_.newest());
  closing_.NotifyAll();
  return false;
}

void EventLog::ReportWritability() {
  const State found = state();
  const bool writable = found.journal_writable;
  {
    const MutexLock lock(&mutex_);
    if (std::exchange(reported_writable_, writable) == writable) return;
  }
  const absl::Duration now = clock_->Now().monotonic;
  if (writable) {
    spdlog::info("the journal can be written again, after {}",
                 absl::FormatDuration(now - unwritable_since_));
  } else {
    unwritable_since_ = now;
    spdlog::error("the journal cannot be written: {}; new events are not durable",
                  found.journal_problem.text);
  }
}

void EventLog::AddDueGaps() {
  const MutexLock recording(&recording_);
  while (true) {
    std::optional<NodeGap> gap;
    {
      const MutexLock lock(&mutex_);
      gap = backlog_.TakeGap(recorder_.last_assigned() + 1);
    }
    if (!gap.has_value()) return;
    AddGap(*gap);
  }
}

void EventLog::TakeOpened() {
  std::optional<Journal::Opened> opened;
  {
    const MutexLock lock(&mutex_);
    if (!opened_.has_value()) return;
    opened = std::exchange(opened_, std::nullopt);
    std::vector<VmRecordPtr> vms;
    for (const v1::Vm& vm : opened->stops) vms.push_back(std::make_shared<const VmRecord>(vm));
    vms_.Put(std::move(vms));
  }
  const MutexLock recording(&recording_);
  if (!opened->replaced.empty()) {
    AddGap({GapReason::kJournalReplaced, opened->replaced});
  } else if (!opened->runs.empty() && !knows_runs_) {
    AddGap({GapReason::kJournalLate,
            "the journal could not be opened at the start: VMs that ran before and have not "
            "started again since have no STOPPED"});
  }
}

bool EventLog::PublishDue() {
  std::vector<UnpublishedTurn> due;
  const absl::Duration now = clock_->Now().monotonic;
  {
    const MutexLock lock(&mutex_);
    due = unpublished_.TakeDue(backlog_, now);
  }
  if (due.empty()) return false;
  std::vector<VmRecordPtr> vms;
  absl::flat_hash_set<absl::string_view> runs;
  for (auto changes = due.rbegin(); changes != due.rend(); ++changes) {
    for (auto vm = changes->vms.rbegin(); vm != changes->vms.rend(); ++vm) {
      // A VM without a run_id is always a VM of its own.
      if (!vm->ref().run_id().empty() && !runs.insert(vm->ref().run_id()).second) continue;
      vms.push_back(std::make_shared<const VmRecord>(*vm));
    }
  }
  std::reverse(vms.begin(), vms.end());
  bool published = false;
  {
    const MutexLock lock(&mutex_);
    published = recent_.Publish(due.back().newest, now);
    vms_.Put(std::move(vms));
    Trim();
  }
  for (const UnpublishedTurn& changes : due) {
    for (const absl::Duration at : changes.observed) meters_.observed_to_durable.Observe(now - at);
    // The callbacks may ask whether their event is durable.
    for (const auto& on_public : changes.on_public) on_public();
    for (const StopLine& line : changes.stop_lines) line.Log();
  }
  return published;
}

}  // namespace vmeventd
