#include "server/eventlog/event_pump.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
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
    do {
      Take(&taken_.updates[handled_++]);
    } while (handled_ < taken_.updates.size() && step_.changes.blocks.size() < kMaxBlocksAStep);
    Submit();
  }
  const bool all_taken = handled_ == taken_.updates.size();
  if (all_taken) {
    taken_.updates = {};  // large after a burst
    handled_ = 0;
  }
  const JournalWriter::Progress progress = writer_->progress();
  SetWritten(progress);  // first: what is published as durable must count as such
  const bool published = PublishDue(progress);
  const bool more_durable = std::exchange(durable_, progress.durable) != progress.durable;
  if (published || more_durable) Tell(&Subscriber::published);
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
    Tell(&Subscriber::journal_writable, progress.writable);
  }
  return !taken_.closed || !steps_.empty() || !all_taken;
}

void EventPump::SetWritten(const JournalWriter::Progress& progress) {
  live_state_->SetWritten({.open = progress.open,
                           .writable = progress.writable,
                           .oldest = progress.bounds.oldest,
                           .deleted = progress.bounds.deleted,
                           .committed = progress.bounds.newest,
                           .durable = progress.durable,
                           .waiting_from = progress.waiting_from});
}

void EventPump::NameHole(const JournalWriter::Progress& progress) {
  if (!progress.gap_is_due) return;
  const JournalWriter::Hole hole = writer_->TakeHole(newest_ + 1);
  VmEvent gap;
  gap.type = EventType::kGap;
  gap.gap_reason = GapReason::kNotWritten;
  gap.observe_time = clock_->Now().wall;
  gap.message = absl::StrCat(
      "the events ", hole.first, " to ", hole.last,
      " are lost, as far as there were any: vmeventd ended before they were written, or more than ",
      JournalOptions::kMaxBacklogBytes >> 20, " MiB waited for the disk");
  AddEvent(gap, nullptr, hole);
  Submit();
}

void EventPump::TakeOpened() {
  std::optional<Journal::Opened> opened = writer_->TakeOpened();
  if (!opened.has_value()) return;
  if (live_state_->identity()->journal_id != opened->journal_id) {
    live_state_->ChangeJournal(opened->journal_id);
  }
  if (!opened->replaced.empty()) {
    PublishGap(GapReason::kJournalReplaced, opened->replaced);
  } else if (!opened->runs.empty()) {
    PublishGap(
        GapReason::kJournalLate,
        "the journal could not be opened at the start: of the VMs that ran before, those that have"
        " not begun again since have no STOPPED");
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

void EventPump::AddEvent(const VmEvent& event, const VmStatus* vm,
                         std::optional<JournalWriter::Hole> missing) {
  EventToProto(event, vm, ++newest_, &event_);
  if (missing.has_value()) {
    event_.mutable_missing()->set_first(missing->first);
    event_.mutable_missing()->set_last(missing->last);
  }
  builder_.Add(&event_);
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
  if (status == nullptr) return;
  // Each update without a run_id is a VM of its own, and the order between the two kinds counts.
  if (status->ref.run_id.empty()) {
    statuses_.push_back({status, 0});
    return;
  }
  const auto [found, first] = runs_.try_emplace(status->ref.run_id);
  OfRun& run = found->second;
  if (update->event.has_value()) {
    run.last_sequence = newest_;
  } else if (first) {
    const auto waiting = last_sequences_.find(status->ref.run_id);
    if (waiting != last_sequences_.end()) {
      run.last_sequence = waiting->second;
    } else {
      const VmRecordPtr record = live_state_->FindVm({status->ref.name, status->ref.run_id, ""});
      run.last_sequence = record == nullptr ? 0 : record->last_sequence();
    }
  }
  if (!first) statuses_[run.status].vm = nullptr;
  run.status = statuses_.size();
  statuses_.push_back({status, run.last_sequence});
  if (update->saved_run.has_value()) {
    run.saved = {status->ref.run_id, *std::move(update->saved_run), run.last_sequence};
  }
}

void EventPump::EncodeStatuses() {
  for (const auto& [status, last_sequence] : std::exchange(statuses_, {})) {
    if (status == nullptr) continue;
    VmToProto(*status, last_sequence, &vm_);
    auto record = std::make_shared<const VmRecord>(vm_);
    if (record->stopped()) batch_.stops.push_back(record);
    step_.changes.vms.push_back(std::move(record));
  }
  for (auto& [run_id, run] : runs_) {
    last_sequences_[run_id] = run.last_sequence;
    if (run.saved.has_value()) batch_.runs.push_back(*std::move(run.saved));
  }
  runs_.clear();
  // Neighbours in the table are written together.
  std::sort(batch_.runs.begin(), batch_.runs.end(),
            [](const auto& a, const auto& b) { return a.run_id < b.run_id; });
}

void EventPump::Submit() {
  if (!builder_.empty()) step_.changes.blocks.push_back(builder_.Finish());
  EncodeStatuses();
  const bool to_write = !step_.changes.blocks.empty() || !batch_.runs.empty();
  if (!to_write && step_.changes.vms.empty() && step_.on_public.empty()) return;
  writer_->Reserve(newest_);
  std::vector<JournalWriter::Hole> dropped;
  if (to_write) {
    batch_.blocks = step_.changes.blocks;
    step_.batch = writer_->Add(std::exchange(batch_, {}), &dropped);
  } else if (!steps_.empty()) {
    step_.batch = steps_.back().batch;
  }
  step_.public_by = clock_->Now().monotonic + EventLog::kPatience;
  steps_.push_back(std::exchange(step_, {}));
  for (const JournalWriter::Hole& hole : dropped) Drop(hole);
}

void EventPump::Drop(const JournalWriter::Hole& hole) {
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
