#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/eventlog/event_queue.h"
#include "server/eventlog/journal_writer.h"
#include "server/eventlog/live_state.h"
#include "server/events/event_meters.h"
#include "server/logging/logging.h"

namespace vmeventd {

// Takes what the watcher saw from the queue, gives each event its sequence, encodes it, has it
// written together with the runs that it changed, publishes it in the live state once it is
// written or has waited for EventLog::kPatience, and then notifies the subscribers. Never waits for
// the disk. The pump thread.
class EventPump {
 public:
  using Subscriber = EventLog::Subscriber;
  // The pointers outlive the pump. Sequences continue after `newest`.
  EventPump(EventQueue* queue, LiveState* live_state, JournalWriter* writer, const Clock* clock,
            const std::vector<Subscriber>* subscribers, uint64_t newest)
      : queue_(queue),
        live_state_(live_state),
        writer_(writer),
        clock_(clock),
        subscribers_(subscribers),
        newest_(newest) {}

  template <typename Function, typename... Arguments>
  void Notify(Function Subscriber::*function, Arguments... arguments) const {
    for (const Subscriber& subscriber : *subscribers_) {
      if (subscriber.*function) (subscriber.*function)(arguments...);
    }
  }

  // Handles what waits, after waiting for it at most `timeout`. False: the queue was closed, and
  // all of it is public.
  bool RunOnce(absl::Duration timeout);
  // Time at which it has something to do without another update, on the monotonic clock.
  absl::Duration next() const;
  // Publishes a GAP of the node as a whole.
  void PublishGap(GapReason reason, const std::string& message);
  // Takes over the state of the journal, without a notification.
  void TakeWritten() { live_state_->SetWritten(writer_->progress()); }

  uint64_t newest() const { return newest_; }
  // Any thread.
  const EventMeters& meters() const { return meters_; }

 private:
  // Changes that become public in one step.
  struct Step {
    LiveState::Step changes;
    uint64_t batch = 0;  // see JournalWriter::Add
    absl::Duration public_by;
    std::vector<std::function<void()>> on_public;
    std::vector<StopLine> stop_lines;
    std::vector<absl::Duration> observed;  // observation times of its events
  };

  void Take(VmUpdate* update);
  void AddEvent(const VmEvent& event, const VmStatus* vm, const Hole& missing = {});
  // Adds to step_ and batch_ the statuses that the updates from `first` on leave, the last of each
  // run.
  void EncodeStatuses(size_t first);
  // Gives step_ and batch_ to the writer.
  void Submit();
  // Removes what the journal will never have.
  void Drop(const Hole& hole);
  // Publishes what is due. Returns whether there was something.
  bool PublishDue(const JournalWriter::Progress& progress);
  void NameHole(const JournalWriter::Progress& progress);
  void TakeOpened();

  EventQueue* const queue_;
  LiveState* const live_state_;
  JournalWriter* const writer_;
  const Clock* const clock_;
  const std::vector<Subscriber>* const subscribers_;
  uint64_t newest_;  // sequence that was given last
  bool reported_writable_ = true;
  absl::Duration unwritable_since_;
  uint64_t durable_ = 0;  // as published last

  EventQueue::Batch taken_;  // from the queue
  size_t handled_ = 0;       // number of its updates that were handled

  EventBlockBuilder builder_;
  Step step_;
  Journal::Batch batch_;    // belongs to step_
  std::deque<Step> steps_;  // that wait to be public, in order
  // The newest event of each run that waits to be public.
  absl::flat_hash_map<std::string, uint64_t> last_sequences_;
  EventMeters meters_;
};

}  // namespace vmeventd
