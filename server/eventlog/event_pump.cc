#include "server/eventlog/event_pump.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/events/event_codec.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

// Limit of one step, so that the events of a burst are written and published while it lasts.
constexpr size_t kMaxBlocksAStep = 16;

}  // namespace

absl::Duration EventPump::next() const {
  const JournalWriter::Progress progress = writer_->progress();
  const bool has_input = handled_ < taken_.updates.size() && progress.has_room;
  if (progress.gap_is_due || has_input) return absl::ZeroDuration();
  absl::Duration next = absl::InfiniteDuration();
  if (!steps_.empty()) next = steps_.front().public_by;
  if (reported_writable_) next = std::min(next, progress.stalls_at);
  return next;
}

bool EventPump::RunOnce(absl::Duration timeout) {
  timeout = std::min(timeout, std::max(absl::ZeroDuration(), next() - clock_->Now().monotonic));
  if (handled_ < taken_.updates.size()) {
    queue_->WaitForWake(timeout);
  } else {
    taken_ = queue_->Pop(timeout);
    handled_ = 0;
  }
  TakeOpened();
  NameHole(writer_->progress());
  while (handled_ < taken_.updates.size() && writer_->progress().has_room) {
    const size_t first = handled_;
    do {
      Take(&taken_.updates[handled_++]);
    } while (handled_ < taken_.updates.size() && step_.changes.blocks.size() < kMaxBlocksAStep);
    EncodeStatuses(first);
    Submit();
  }
  const bool all_taken = handled_ == taken_.updates.size();
  if (all_taken) {
    taken_.updates = {};  // large after a burst
    handled_ = 0;
  }
  const JournalWriter::Progress progress = writer_->progress();
  live_state_->SetWritten(progress);  // first: what is published as durable must count as such
  const bool published = PublishDue(progress);
  const bool more_durable = std::exchange(durable_, progress.durable) != progress.durable;
  if (published || more_durable) Notify(&Subscriber::published);
  if (progress.writable != reported_writable_) {
    reported_writable_ = progress.writable;
    const absl::Duration now = clock_->Now().monotonic;
    if (progress.writable) {
      spdlog::info("the journal can be written again, after {}",
                   absl::FormatDuration(now - unwritable_since_));
    } else {
      unwritable_since_ = now;
      spdlog::error("the journal cannot be written: {}; new events are not durable",
                    progress.problem);
    }
    Notify(&Subscriber::journal_writable, progress.writable);
  }
  return !taken_.closed || !steps_.empty() || !all_taken;
}

void EventPump::NameHole(const JournalWriter::Progress& progress) {
  if (!progress.gap_is_due) return;
  const Hole hole = writer_->TakeHole(newest_ + 1);
  VmEvent gap;
  gap.type = EventType::kGap;
  gap.gap_reason = GapReason::kNotWritten;
  gap.observe_time = clock_->Now().wall;
  gap.message = absl::StrCat(
      "the events ", hole.first, " to ", hole.last,
      " are lost, if there were any: vmeventd ended before they were written, or more than ",
      JournalOptions::kMaxBacklogBytes >> 20, " MiB waited for the disk");
  AddEvent(gap, nullptr, hole);
  Submit();
}

void EventPump::TakeOpened() {
  std::optional<Journal::Opened> opened = writer_->TakeOpened();
  if (!opened.has_value()) return;
  if (!opened->replaced.empty()) {
    PublishGap(GapReason::kJournalReplaced, opened->replaced);
  } else if (!opened->runs.empty()) {
    PublishGap(GapReason::kJournalLate,
               "the journal could not be opened at the start: VMs that ran before and have not "
               "started again since have no STOPPED");
  }
  LiveState::Step step;
  for (const v1::Vm& vm : opened->stops) {
    step.vms.push_back(std::make_shared<const VmRecord>(vm));
  }
  live_state_->Publish(std::move(step), false);
}

void EventPump::PublishGap(GapReason reason, const std::string& message) {
  VmEvent gap;
  gap.type = EventType::kGap;
  gap.gap_reason = reason;
  gap.observe_time = clock_->Now().wall;
  gap.message = message;
  AddEvent(gap, nullptr);
  Submit();
}

void EventPump::AddEvent(const VmEvent& event, const VmStatus* vm, const Hole& missing) {
  v1::Event encoded = EventToProto(event, vm, ++newest_);
  if (!missing.empty()) {
    encoded.mutable_missing()->set_first(missing.first);
    encoded.mutable_missing()->set_last(missing.last);
  }
  builder_.Add(std::move(encoded));
  meters_.Count(event);
  if (event.type == EventType::kStopped && vm != nullptr) {
    step_.stop_lines.emplace_back(event, vm->ref, newest_);
  }
  if (event.observe_monotonic.has_value()) step_.observed.push_back(*event.observe_monotonic);
  if (builder_.full()) step_.changes.blocks.push_back(builder_.Finish());
}

void EventPump::Take(VmUpdate* update) {
  if (update->on_public) step_.on_public.push_back(std::move(update->on_public));
  const VmStatus* const status = update->status.has_value() ? &*update->status : nullptr;
  if (update->event.has_value()) AddEvent(*update->event, status);
  if (status == nullptr || status->ref.run_id.empty()) return;
  const std::string& run_id = status->ref.run_id;
  const auto [of_run, is_first] = last_sequences_.try_emplace(run_id, 0);
  if (update->event.has_value()) {
    of_run->second = newest_;
  } else if (is_first) {
    const VmRecordPtr record = live_state_->FindVm({status->ref.name, run_id, ""});
    if (record != nullptr) of_run->second = record->last_sequence();
  }
  if (update->saved_run.has_value()) {
    batch_.runs.push_back({run_id, *std::move(update->saved_run), of_run->second});
  }
}

void EventPump::EncodeStatuses(size_t first) {
  std::vector<VmRecordPtr>& vms = step_.changes.vms;
  absl::flat_hash_set<absl::string_view> encoded_runs;
  for (size_t i = handled_; i > first; --i) {
    const std::optional<VmStatus>& status = taken_.updates[i - 1].status;
    if (!status.has_value()) continue;
    // Each update without a run_id is a VM of its own.
    const std::string& run_id = status->ref.run_id;
    if (!run_id.empty() && !encoded_runs.insert(run_id).second) continue;
    const uint64_t last_sequence = run_id.empty() ? 0 : last_sequences_[run_id];
    vms.push_back(std::make_shared<const VmRecord>(VmToProto(*status, last_sequence)));
  }
  std::reverse(vms.begin(), vms.end());
  for (const VmRecordPtr& vm : vms) {
    if (vm->stopped()) batch_.stops.push_back(vm);
  }
}

void EventPump::Submit() {
  if (!builder_.empty()) step_.changes.blocks.push_back(builder_.Finish());
  const bool to_write = !step_.changes.blocks.empty() || !batch_.runs.empty();
  if (!to_write && step_.changes.vms.empty() && step_.on_public.empty()) return;
  std::vector<Hole> dropped;
  if (to_write) {
    batch_.blocks = step_.changes.blocks;
    step_.batch = writer_->Add(std::exchange(batch_, {}), &dropped);
  } else if (!steps_.empty()) {
    step_.batch = steps_.back().batch;
  }
  step_.changes.newest = newest_;
  step_.public_by = clock_->Now().monotonic + EventLog::kPatience;
  steps_.push_back(std::exchange(step_, {}));
  for (const Hole& hole : dropped) Drop(hole);
}

void EventPump::Drop(const Hole& hole) {
  live_state_->Drop(hole.first, hole.last);
  for (Step& step : steps_) {
    std::erase_if(step.changes.blocks, [&](const EventBlockPtr& block) {
      return block->first_sequence() >= hole.first && block->last_sequence() <= hole.last;
    });
  }
}

bool EventPump::PublishDue(const JournalWriter::Progress& progress) {
  const absl::Duration now = clock_->Now().monotonic;
  bool published = false;
  while (!steps_.empty()) {
    const bool durable = steps_.front().batch <= progress.written;
    if (!durable && progress.writable && now < steps_.front().public_by) break;
    Step step = std::move(steps_.front());
    steps_.pop_front();
    for (const EventBlockPtr& block : step.changes.blocks) block->SetPublished(now);
    if (durable) {
      for (const absl::Duration at : step.observed) meters_.observed_to_durable.Observe(now - at);
    }
    published = published || !step.changes.blocks.empty();
    live_state_->Publish(std::move(step.changes), durable);
    // These may ask whether their event is durable.
    for (const std::function<void()>& on_public : step.on_public) on_public();
    for (const StopLine& line : step.stop_lines) line.Log();
  }
  if (steps_.empty()) last_sequences_.clear();
  return published;
}

}  // namespace vmeventd
