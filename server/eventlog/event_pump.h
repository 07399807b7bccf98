#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/shared_text.h"
#include "server/eventlog/event_queue.h"
#include "server/eventlog/journal_writer.h"
#include "server/eventlog/live_state.h"
#include "server/events/event_meters.h"
#include "server/logging/logging.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// Takes what the watcher saw from the queue, gives each event its sequence, encodes it, commits it
// to the journal together with the runs that it changed, publishes it in the live state, and then
// notifies the subscribers. Events that wait together are committed together. If the journal cannot
// be written, events are published as not durable; if the sequence mark cannot be written either,
// they are held back and the rest waits in the queue, within its bound. Every method but
// ReportCorrupt is for one thread, the pump thread, which is the only writer of the live state and
// the journal.
class EventPump {
 public:
  using Subscriber = EventLog::Subscriber;
  // The pointers outlive the pump. Sequences continue those of the live state.
  EventPump(EventQueue* queue, LiveState* live_state, JournalWriter* journal, const Clock* clock,
            const std::vector<Subscriber>* subscribers)
      : queue_(queue),
        live_state_(live_state),
        journal_(journal),
        clock_(clock),
        subscribers_(subscribers),
        newest_(live_state->range().newest) {}

  template <typename Function, typename... Arguments>
  void Tell(Function Subscriber::*function, Arguments... arguments) const {
    for (const Subscriber& subscriber : *subscribers_) {
      if (subscriber.*function) (subscriber.*function)(arguments...);
    }
  }

  // Handles what waits, after waiting for it at most `timeout`. False: the queue was closed, and
  // all of it is public or cannot be: then it is lost, which is logged.
  bool RunOnce(absl::Duration timeout);
  // Returns whether events have a sequence and may not be published yet: see
  // JournalWriter::may_publish.
  bool holds_back() const { return held_blocks_ > 0; }

  // Publishes a GAP of the node as a whole. Pump thread, or before it exists. `missing`: the
  // sequences that are lost, if known.
  struct Missing {
    uint64_t first;
    uint64_t last;
  };
  void PublishGap(const std::string& message, std::optional<Missing> missing = std::nullopt);

  // Reports that a reader found that journal corrupt, or could not read it (see IsReadError). Any
  // thread.
  void ReportCorrupt(const std::string& journal_id, const absl::Status& found);
  // Any thread.
  const EventMeters& meters() const { return meters_; }

 private:
  // `update` lives until the next Flush.
  void Take(VmUpdate* update);
  // Adds the statuses that the taken updates leave, the last of each run, to step_ and change_.
  void EncodeStatuses();
  void AddEvent(const VmEvent& event, const VmStatus* vm,
                std::optional<Missing> missing = std::nullopt);
  // Commits step_ and publishes it, or holds it back.
  void Flush();
  void PublishStep(bool durable);
  void TendJournal(bool idle);
  void ReplaceCorruptJournal();
  // Puts a GAP in the place of what the journal's writer has just given up, if anything.
  void PutGap();

  EventQueue* const queue_;
  LiveState* const live_state_;
  JournalWriter* const journal_;
  const Clock* const clock_;
  const std::vector<Subscriber>* const subscribers_;
  uint64_t newest_;
  bool reported_writable_ = true;

  // A VM after an update that was taken; null: a later one has taken its place.
  struct TakenStatus {
    const VmStatus* vm;
    uint64_t last_sequence;  // the newest event of its run, 0 if it has none
  };
  struct OfRun {
    size_t status = 0;  // index in statuses_
    uint64_t last_sequence = 0;
    std::optional<SavedRun> saved;
  };

  std::vector<VmUpdate> updates_;  // taken from the queue
  size_t handled_ = 0;             // number of updates_ that were handled

  // Messages encoded last; their memory is reused.
  v1::Event event_;
  v1::Vm vm_;
  EventBlockBuilder builder_;
  LiveState::Step step_;
  size_t held_blocks_ = 0;             // those of step_ that the journal's writer has already
  JournalWriter::Change change_;       // belongs to step_
  std::vector<TakenStatus> statuses_;  // belong to step_
  absl::flat_hash_map<SharedText, OfRun> runs_;   // belong to step_
  std::vector<std::function<void()>> on_public_;  // belong to step_
  std::vector<StopLine> stop_lines_;              // belong to step_
  std::vector<absl::Duration> observed_;          // observation times of the events of step_
  EventMeters meters_;

  Mutex mutex_;
  std::pair<std::string, absl::Status> found_corrupt_ ABSL_GUARDED_BY(mutex_);  // found by a reader
};

}  // namespace vmeventd
