#include "server/eventlog/event_log.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/thread_name.h"
#include "server/eventlog/event_log_parts.h"

namespace vmeventd {

EventLog::Parts::Parts(const EventLogOptions& options, const Clock* clock, RecoveredState recovered)
    : queue(options.max_queued),
      live_state(options.live,
                 {recovered.journal->journal_id(), recovered.journal->token_key(), options.node_id},
                 recovered.journal->retained(), recovered.newest),
      read_queue(options.journal.path, &live_state,
                 [this](const std::string& journal_id, const absl::Status& found) {
                   ReportCorrupt(journal_id, found);
                 }),
      journal(options.journal, std::move(recovered.journal), std::move(recovered.mark)),
      pump(&queue, &live_state, &journal, clock, &subscribers),
      event_meters(pump.meters()),
      journal_meters(journal.meters()) {
  const OnThread here(&pump_role);
  PublishRecovered(recovered, journal.journal().retained(), clock->Now(), &live_state, &pump);
  saved = std::move(recovered.saved);
}

absl::StatusOr<std::unique_ptr<EventLog>> EventLog::Open(const EventLogOptions& options,
                                                         const Clock* clock) {
  const std::string& path = options.journal.path;
  absl::StatusOr<RecoveredState> recovered =
      Recover(options.journal, absl::StrCat(path.substr(0, path.rfind('/')), "/sequence"),
              clock->Now().wall);
  if (!recovered.ok()) return recovered.status();
  return std::unique_ptr<EventLog>(
      new EventLog(std::make_unique<Parts>(options, clock, *std::move(recovered))));
}

EventLog::EventLog(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

EventLog::~EventLog() {
  Close();
  Stop();
}

SavedState EventLog::TakeSaved() { return std::exchange(parts_->saved, {}); }
EventSink* EventLog::sink() { return &parts_->queue; }

void EventLog::Subscribe(Subscriber subscriber) {
  parts_->subscribers.push_back(std::move(subscriber));
}

void EventLog::Start(Threads threads) {
  if (threads == Threads::kAll) {
    parts_->pump_thread = std::thread([this] {
      SetThreadName("pump");
      while (Step(absl::InfiniteDuration())) {
      }
    });
  }
  parts_->history_thread = std::thread([this] { parts_->read_queue.Run(); });
}

void EventLog::Wake() { parts_->queue.Wake(); }

void EventLog::Close() {
  parts_->queue.Close();
  if (parts_->pump_thread.joinable()) parts_->pump_thread.join();
}

void EventLog::Stop() {
  parts_->read_queue.Stop();
  if (parts_->history_thread.joinable()) parts_->history_thread.join();
}

bool EventLog::Step(absl::Duration timeout) {
  const OnThread here(&parts_->pump_role);
  const bool more = parts_->pump.RunOnce(timeout);
  parts_->pump.Tell(&Subscriber::turn);
  return more;
}

absl::Duration EventLog::NextStep() const {
  const OnThread here(&parts_->pump_role);
  const bool has_input =
      parts_->queue.woken() || (parts_->queue.depth() > 0 && !parts_->pump.holds_back());
  return has_input ? absl::ZeroDuration() : parts_->journal.NextTick();
}

bool EventLog::StepHistory() { return parts_->read_queue.RunTurn(); }

absl::StatusOr<StreamBegin> EventLog::Begin(const WatchStart& start) const {
  return parts_->live_state.Begin(start);
}

ReadResult EventLog::Read(uint64_t sequence, const ReadOptions& options) const {
  return parts_->live_state.Read(sequence, options);
}

void EventLog::ReadHistory(const std::string& peer, HistoryRequest request,
                           std::function<size_t()> max_bytes,
                           std::function<void(absl::StatusOr<HistoryAnswer>)> done) {
  parts_->read_queue.PostForStream(
      peer,
      [request = std::move(request), max_bytes = std::move(max_bytes),
       done = std::move(done)](const absl::StatusOr<JournalReader*>& reader) -> absl::Status {
        absl::StatusOr<HistoryAnswer> answer =
            reader.ok() ? (*reader)->Answer(request, max_bytes()) : reader.status();
        absl::Status status = answer.status();
        done(std::move(answer));
        return status;
      });
}

void EventLog::PostQuery(const std::string& peer, HistoryQuery query) {
  parts_->read_queue.PostQuery(peer, std::move(query));
}

EventLog::VmPage EventLog::Vms(const VmKey* after, size_t limit) const {
  return parts_->live_state.ListVmsAfter(after, limit);
}

std::vector<VmRecordPtr> EventLog::VmsNamed(absl::string_view name) const {
  return parts_->live_state.VmsNamed(name);
}

std::vector<VmRecordPtr> EventLog::VmsWithUuid(const Uuid& uuid) const {
  return parts_->live_state.VmsWithUuid(uuid);
}

VmRecordPtr EventLog::FindVm(const VmKey& key) const { return parts_->live_state.FindVm(key); }
std::vector<VmRecordPtr> EventLog::LastStoppedVms(size_t limit) const {
  return parts_->live_state.LastStoppedVms(limit);
}
int EventLog::vm_count() const { return parts_->live_state.vm_count(); }
VmCounts EventLog::vm_counts() const { return parts_->live_state.vm_counts(); }
uint64_t EventLog::vms_version() const { return parts_->live_state.vms_version(); }

std::vector<WatchedDirectory> EventLog::directories() const { return parts_->queue.directories(); }

JournalIdentityPtr EventLog::identity() const { return parts_->live_state.identity(); }
EventRange EventLog::range() const { return parts_->live_state.range(); }

EventLog::Health EventLog::health() const {
  Health health = parts_->live_state.health();
  const std::vector<WatchedDirectory> directories = parts_->queue.directories();
  health.directories_present =
      std::all_of(directories.begin(), directories.end(),
                  [](const WatchedDirectory& directory) { return directory.present; });
  health.queued = parts_->queue.depth();
  health.max_queued = parts_->queue.max_updates();
  health.dropped_events = parts_->queue.dropped_events();
  return health;
}

const EventMeters& EventLog::event_meters() const { return parts_->event_meters; }
const JournalMeters& EventLog::journal_meters() const { return parts_->journal_meters; }

}  // namespace vmeventd
