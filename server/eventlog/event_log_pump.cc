#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
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

absl::Duration EventLog::PublicationOf(const Unpublished& changes) const {
  const bool waits = changes.has_batch && !IsWritten(changes.turn);
  return waits && IsWritable() ? changes.added + kPatience : absl::ZeroDuration();
}

absl::Duration EventLog::NextPump() const {
  if (close_at_.has_value()) return absl::InfiniteDuration();
  const bool counts = dropped_unnamed_ > 0 && bytes_ < options_.max_backlog_bytes;
  if (gap_is_due_ || counts || opened_.has_value() || (pushed_all_ && unpublished_.empty())) {
    return absl::ZeroDuration();
  }
  absl::Duration next = absl::InfiniteDuration();
  if (!unpublished_.empty()) next = PublicationOf(unpublished_.front());
  return std::min(next, reported_writable_ ? since_ + kMaxCommit
                        : IsWritable()     ? settled_at_
                                           : absl::InfiniteDuration());
}

bool EventLog::Step(absl::Duration timeout) {
  {
    const MutexLock lock(&mutex_);
    const absl::Duration next = std::min(NextPump(), NextWrite());
    timeout = std::min(timeout, std::max(absl::ZeroDuration(), next - clock_->Now().monotonic));
    WaitUntil(&changed_, &mutex_, timeout,
              [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return woken_; });
    woken_ = false;
  }
  const MutexLock turn(&turn_);
  bool gap_is_due = false;
  {
    const MutexLock lock(&mutex_);
    if (close_at_.has_value()) return false;
    gap_is_due = gap_is_due_;
  }
  TakeOpened();
  if (gap_is_due) NameHole();
  NameDropped();
  const bool published = PublishDue();
  const EventRange now = range();
  const std::pair durable(now.committed, now.durable);  // a hole holds the latter up
  const bool more_durable = std::exchange(reported_durable_, durable) != durable;
  ReportWritability();
  for (const Subscriber& subscriber : subscribers_) subscriber(published || more_durable);
  const MutexLock lock(&mutex_);
  while (bytes_ > options_.max_backlog_bytes && !IsWritable() && DropOldest()) {
  }
  if (!pushed_all_ || !unpublished_.empty()) return true;
  close_at_ = newest_;
  if (absl::IsDataLoss(status_)) closed_ = true;
  retry_at_ = absl::ZeroDuration();
  closing_.NotifyAll();
  return false;
}

void EventLog::ReportWritability() {
  const Health found = health();
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
                  found.journal_problem);
  }
}

void EventLog::NameDropped() {
  uint64_t dropped = 0;
  {
    const MutexLock lock(&mutex_);
    if (bytes_ < options_.max_backlog_bytes) dropped = std::exchange(dropped_unnamed_, 0);
  }
  if (dropped == 0) return;
  const MutexLock recording(&recording_);
  AddGap(GapReason::kQueueFull,
         absl::StrCat(dropped, " events of VMs were dropped: more than ",
                      2 * JournalOptions::kMaxBacklogBytes >> 20, " MiB waited to be recorded"));
}

void EventLog::NameHole() {
  const MutexLock recording(&recording_);
  Hole hole;
  {
    const MutexLock lock(&mutex_);
    gap_is_due_ = false;
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
  AddGap(GapReason::kNotWritten, message, hole);
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
  const MutexLock recording(&recording_);
  if (!opened->replaced.empty()) {
    AddGap(GapReason::kJournalReplaced, opened->replaced);
  } else if (!opened->runs.empty() && !knows_runs_) {
    AddGap(GapReason::kJournalLate,
           "the journal could not be opened at the start: VMs that ran before and have not "
           "started again since have no STOPPED");
  }
}

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
  batch_.Put(Logged(std::move(event)));
}

// Recording

void EventLog::Push(VmUpdate update) {
  pushed_.push_back(std::move(update));
  if (pushed_.size() >= kMaxPushed) EndTurn();
}

void EventLog::EndTurn() {
  if (pushed_.empty()) return;
  std::vector<VmUpdate> updates = std::exchange(pushed_, {});
  const MutexLock recording(&recording_);
  size_t full = 0;  // how often the bound is reached
  {
    const MutexLock lock(&mutex_);
    if (newest_ == given_) last_sequences_.clear();
    full = bytes_ / (2 * options_.max_backlog_bytes);
  }
  uint64_t dropped = 0;
  for (VmUpdate& update : updates) {
    const bool drops = update.event.has_value() && full > 0 &&
                       (full > 1 || !(update.on_public || IsEvidence(update.event->type())));
    if (drops) update.event.reset();
    dropped += drops ? 1 : 0;
    Take(&update);
  }
  Submit();
  if (dropped == 0) return;
  const MutexLock lock(&mutex_);
  dropped_ += dropped;
  dropped_unnamed_ += dropped;
}

void EventLog::Take(VmUpdate* update) {
  if (update->on_public) taking_.on_public.push_back(std::move(update->on_public));
  v1::Vm* const status = update->status.has_value() ? &*update->status : nullptr;
  if (update->event.has_value()) AddEvent(*std::move(update->event), status);
  if (update->observed.has_value()) taking_.observed.push_back(*update->observed);
  if (status == nullptr) return;
  if (const std::string& run_id = status->ref().run_id(); !run_id.empty()) {
    const auto [of_run, is_first] = last_sequences_.try_emplace(run_id, 0);
    if (update->event.has_value()) {
      of_run->second = given_;
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
  taking_.vms.push_back(std::move(*status));
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
    AddUnwritten({taken.turn, taken.added, std::exchange(batch_, {})});
    if (since_ == absl::InfiniteDuration()) since_ = taken.added;
  }
  if (given_ + kReservedSequences / 2 >= wanted_mark_) wanted_mark_ = given_ + kReservedSequences;
  // While one pump writes, the other one knows when to publish what waits.
  const bool wakes = !writing_ || unpublished_.empty();
  unpublished_.push_back(std::move(taken));
  woken_ = woken_ || wakes;
  if (wakes) changed_.NotifyOne();
}

bool EventLog::PublishDue() {
  std::vector<Unpublished> due;
  const absl::Duration now = clock_->Now().monotonic;
  {
    const MutexLock lock(&mutex_);
    for (; !unpublished_.empty(); unpublished_.pop_front()) {
      Unpublished& next = unpublished_.front();
      if (now < PublicationOf(next)) break;
      if (!IsWritten(next.turn)) next.observed.clear();  // they are not durable
      due.push_back(std::move(next));
    }
  }
  if (due.empty()) return false;
  std::vector<VmRecordPtr> vms;
  absl::flat_hash_set<absl::string_view> runs;
  for (auto changes = due.rbegin(); changes != due.rend(); ++changes) {
    for (auto vm = changes->vms.rbegin(); vm != changes->vms.rend(); ++vm) {
      // Each without a run_id is a VM of its own.
      if (!vm->ref().run_id().empty() && !runs.insert(vm->ref().run_id()).second) continue;
      vms.push_back(std::make_shared<const VmRecord>(*vm));
    }
  }
  std::reverse(vms.begin(), vms.end());
  bool published = false;
  {
    const MutexLock lock(&mutex_);
    const auto end = InMemory(due.back().newest + 1);
    for (auto event = InMemory(newest_ + 1); event != end; ++event) {
      (*event)->published = now;
      published = true;
    }
    newest_ = due.back().newest;
    PutVmsLocked(std::move(vms));
    Trim();
  }
  for (const Unpublished& changes : due) {
    for (const absl::Duration at : changes.observed) meters_.observed_to_durable.Observe(now - at);
    // These may ask whether their event is durable.
    for (const auto& on_public : changes.on_public) on_public();
    for (const StopLine& line : changes.stop_lines) line.Log();
  }
  return published;
}

// Writing

void EventLog::AddUnwritten(const Unwritten& added) {
  const size_t joined = std::min(size_t{4} << 20, options_.max_backlog_bytes / 8);
  const bool joins = !unwritten_.empty() && unwritten_.back().batch.bytes < joined;
  if (!joins) unwritten_.push_back({added.turn, added.added, {}});
  Journal::Batch& batch = unwritten_.back().batch;
  bytes_ -= batch.bytes;
  batch.Add(added.batch);
  bytes_ += batch.bytes;
}

bool EventLog::DropOldest() {
  if (unwritten_.size() < 2) return false;
  const Journal::Batch oldest = std::move(unwritten_.front().batch);
  unwritten_.pop_front();
  Journal::Batch& next = unwritten_.front().batch;
  bytes_ -= oldest.bytes + next.bytes;
  if (!oldest.events.empty()) {
    const Hole hole{oldest.events.front()->sequence, oldest.events.back()->sequence};
    const auto begin = InMemory(hole.first);
    const auto end = InMemory(hole.last + 1);
    for (auto event = begin; event != end; ++event) memory_ -= (*event)->memory();
    ring_.erase(begin, end);
    meters_.lost_events.Add(oldest.events.size());
    hole_.first = hole_.empty() ? hole.first : std::min(hole_.first, hole.first);
    hole_.last = std::max(hole_.last, hole.last);
    named_by_ = 0;
    gap_is_due_ = false;
  }
  // Changes of VMs move to the next batch.
  Journal::Batch batch{.stops = oldest.stops};
  for (const auto& [run_id, run] : oldest.runs) batch.Put(run_id, run);
  batch.Add(next);
  while (std::ssize(batch.stops) > VmRegistry::kMaxStopped) batch.stops.erase(batch.stops.begin());
  next = std::move(batch);
  bytes_ += next.bytes;
  return true;
}

void EventLog::CheckDamage(const absl::Status& found) {
  if (!absl::IsDataLoss(found)) return;
  Journal::ReportDamage(options_.path, found.message());
  {
    const MutexLock lock(&mutex_);
    if (absl::IsDataLoss(status_)) return;
    Fail(found);
  }
  Wake();
}

absl::Duration EventLog::NextWrite() const {
  if (closed_ || writing_) return absl::InfiniteDuration();
  const bool work = !unwritten_.empty() || wanted_mark_ != mark_ || close_at_.has_value() || !open_;
  const absl::Duration next = work ? absl::ZeroDuration() : expiry_at_;
  return status_.ok() ? next : std::max(next, retry_at_);
}

EventLog::Work EventLog::ChooseWork(Instant now) {
  if (closed_) return Work::kNone;
  if (!status_.ok() && now.monotonic < retry_at_) return Work::kNone;
  if (!open_) return Work::kOpen;
  const bool waits = !unwritten_.empty();
  if (close_at_.has_value() && !waits) wanted_mark_ = *close_at_;
  if (wanted_mark_ != mark_) return Work::kMark;
  const bool retain = journal_->RetentionIsDue() || now.monotonic >= expiry_at_;
  if (retain && !close_at_.has_value() && (!waits || !retained_)) return Work::kRetain;
  return waits ? Work::kAppend : Work::kNone;
}

const Journal::Batch* EventLog::TakeBatch() {
  in_flight_ = std::move(unwritten_.front());
  unwritten_.pop_front();
  Journal::Batch& batch = in_flight_->batch;
  batch.hole = hole_;
  const uint64_t through = batch.events.empty() ? 0 : batch.events.back()->sequence;
  batch.hole_is_named = named_by_ != 0 && named_by_ <= through;
  return &batch;
}

bool EventLog::StepWriter() {
  Work work = Work::kNone;
  const Journal::Batch* batch = nullptr;
  uint64_t mark = 0;
  const Instant begin = clock_->Now();
  {
    const MutexLock lock(&mutex_);
    if (writing_) return false;
    work = ChooseWork(begin);
    retained_ = work == Work::kRetain;
    if (work == Work::kNone) {
      if (close_at_.has_value() && !std::exchange(closed_, true)) closing_.NotifyAll();
      return false;
    }
    writing_ = true;
    if (since_ == absl::InfiniteDuration()) since_ = begin.monotonic;
    if (work == Work::kAppend) batch = TakeBatch();
    mark = wanted_mark_;
  }
  Wake();  // the other pump looks after what waits meanwhile
  absl::Status status;
  absl::StatusOr<bool> more = false;
  absl::StatusOr<Journal::Opened> opened = absl::UnavailableError("");
  if (work == Work::kOpen) {
    opened = Journal::OpenLate(options_, begin_);
  } else if (work == Work::kMark) {
    status = WriteMark(options_.path, {begin_.journal_id, mark});
  } else if (work == Work::kAppend) {
    status = journal_->Append(*batch);
  } else {
    more = journal_->Retain(begin);
    if (absl::IsDataLoss(more.status())) status = more.status();
  }
  if (absl::IsDataLoss(status)) Journal::ReportDamage(options_.path, status.message());
  const absl::Duration end = clock_->Now().monotonic;
  {
    const MutexLock lock(&mutex_);
    if (work == Work::kOpen) {
      status = opened.status();
      if (opened.ok()) EndOpen(*std::move(opened));
    } else if (work == Work::kMark) {
      if (status.ok()) mark_ = mark;
    } else if (work == Work::kAppend) {
      meters_.commits.Observe(end - begin.monotonic);
      EndAppend(status.ok());
    } else {
      if (!more.ok()) meters_.retention_errors.Add();
      if (!more.ok() || !*more) expiry_at_ = end + Journal::kExpiry;
      bounds_ = journal_->bounds();
    }
    if (status_.ok() && end >= since_ + kMaxCommit) settled_at_ = end + kSettled;
    if (!status.ok()) {
      Fail(status);
    } else if (work != Work::kRetain && !absl::IsDataLoss(status_)) {
      status_ = status;  // a reader may have found damage meanwhile
    }
    since_ = unwritten_.empty() ? absl::InfiniteDuration() : end;
    writing_ = false;
    closing_.NotifyAll();
  }
  return true;
}

void EventLog::Fail(const absl::Status& status) {
  // A reader may have found damage meanwhile. The next start replaces a damaged journal.
  if (!absl::IsDataLoss(status_)) status_ = status;
  retry_at_ =
      absl::IsDataLoss(status_) ? absl::InfiniteDuration() : clock_->Now().monotonic + kRetry;
  meters_.write_errors.Add();
  // Closing waits for no second attempt.
  if (!close_at_.has_value()) return;
  closed_ = true;
  closing_.NotifyAll();
}

std::string EventLog::Problem() const {
  if (!status_.ok()) {
    const std::string path = absl::StrCat(options_.path, ": ");
    return absl::StrCat(path, absl::IsDataLoss(status_) ? "damaged: " : "",
                        absl::StripPrefix(status_.message(), path));
  }
  const absl::Duration hung = clock_->Now().monotonic - since_;
  if (hung >= kMaxCommit) return absl::StrCat(options_.path, NoAnswerFor(hung));
  return absl::StrCat(options_.path, open_ ? ": the disk is slow" : ": it is not open yet");
}

std::string EventLog::NoAnswerFor(absl::Duration hung) {
  return absl::StrCat(": the disk does not answer, for ",
                      absl::FormatDuration(absl::Floor(hung, absl::Seconds(1))), " now");
}

void EventLog::EndAppend(bool ok) {
  Unwritten written = *std::exchange(in_flight_, std::nullopt);
  if (!ok) return unwritten_.push_front(std::move(written));
  bytes_ -= written.batch.bytes;
  bounds_ = journal_->bounds();
  Trim();
  if (named_by_ != 0 && bounds_.newest >= named_by_) {
    hole_ = {};
    named_by_ = 0;
  }
  gap_is_due_ = !hole_.empty() && named_by_ == 0;
}

void EventLog::EndOpen(Journal::Opened opened) {
  Hole lost = opened.hole;
  const uint64_t stored = opened.created ? 0 : opened.journal->bounds().newest;
  uint64_t given = begin_.through;  // perhaps
  if (!unwritten_.empty()) {
    // Those that were handed over may have been written.
    std::vector<EventPtr>& waiting = unwritten_.front().batch.events;
    std::erase_if(waiting, [&](const EventPtr& event) { return event->sequence <= stored; });
    if (!waiting.empty()) given = std::min(given, waiting.front()->sequence - 1);
  }
  if (given > stored) lost = {lost.empty() ? stored + 1 : lost.first, given};
  if (!lost.empty()) {
    hole_ = {lost.first, std::max(hole_.last, lost.last)};
    named_by_ = 0;
    gap_is_due_ = true;
  }
  journal_ = std::move(opened.journal);
  open_ = true;
  bounds_ = journal_->bounds();
  file_ = opened.file;
  // The watcher began without these runs of the daemon before.
  Unwritten ended{.added = clock_->Now().monotonic};
  for (const auto& [run_id, run] : opened.runs) ended.batch.Put(run_id, {});
  if (!ended.batch.empty()) {
    bytes_ += ended.batch.bytes;
    unwritten_.push_front(std::move(ended));
  }
  opened_ = std::move(opened);
}

}  // namespace vmeventd
