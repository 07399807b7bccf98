#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/eventlog/event_log.h"
#include "server/events/event_matcher.h"
#include "server/events/event_page.h"

namespace vmeventd {

// Position of one WatchEvents stream in the log. It queues nothing, so that a slow reader costs
// what one message costs. Knows nothing of the network. One thread at a time. A call takes some
// milliseconds at most, whatever the filter.
class StreamCursor {
 public:
  // Limit of a message with more than one event or VM.
  static constexpr size_t kMaxMessageBytes = size_t{256} << 10;
  // Limit of a search for one message; beyond it, the stream reports its progress instead, so that
  // a filter that matches nothing holds no thread for long.
  static constexpr absl::Duration kMaxSearch = absl::Milliseconds(5);

  // `log` and `clock` outlive the cursor. The stream begins with what matches of begin.snapshot, if
  // it is set. Its first Progress has the `id`. Between events a Progress comes at each `interval`.
  StreamCursor(const EventLog* log, const Clock* clock, StreamBegin begin, EventMatcher matcher,
               bool durable_only = false, std::string id = "",
               absl::Duration interval = absl::InfiniteDuration());

  // Continuation of a step: more, after others had their turn; what ReadJournal finds; nothing
  // before more is published.
  enum class Follows { kMore, kReading, kPublication };
  struct Step {
    std::string message{};  // an encoded WatchEventsResponse to send; empty: none
    Follows follows = Follows::kMore;
    size_t events = 0;  // of the message
    // Time at which the oldest of them became public; InfiniteDuration: not known.
    absl::Duration published = absl::InfiniteDuration();
  };
  // A Progress first (of the sequence 0 before a snapshot), then the snapshot, then events as they
  // come, and a Progress when the stream has caught up for the first time, unless it began there,
  // and when what it sent has become durable. A message of more than one event or VM has at most
  // `max_bytes`.
  Step Next(size_t max_bytes = kMaxMessageBytes);
  // Reads a page of the journal, after a step that asks for it. OUT_OF_RANGE: what comes next is no
  // longer retained.
  absl::Status ReadJournal(JournalReader* journal, size_t max_bytes = kMaxMessageBytes);
  // Reports Progress once there is nothing to send, and when nothing of a page matches.
  void RequestProgress() { progress_wanted_ = true; }

  // Everything matching up to this sequence is in the messages so far. Never falls.
  uint64_t sequence() const { return sequence_; }
  absl::Duration interval() const { return interval_; }

 private:
  enum class Phase { kOpening, kSnapshot, kEvents };

  // The newest event that the stream may send.
  static uint64_t Limit(const EventRange& range, bool durable_only) {
    return durable_only ? range.committed : range.newest;
  }
  bool Matches(const EventRecord& event) const {
    // A GAP may name events of a later time than its own, if the clock was set back.
    return takes_all_ ||
           ((event.observe_time >= since_ || event.is_of_node()) && matcher_.Matches(event));
  }
  v1::Progress ProgressAt(uint64_t sequence);
  // Adds the next VMs of the snapshot that match and fit. False: the search took long.
  bool TakeVms();
  // Adds events to the page until it is full, there are no more, the journal has them or the search
  // took long.
  void TakeEvents(Step* step);

  const EventLog* const log_;
  const Clock* const clock_;
  const EventMatcher matcher_;
  const bool durable_only_;
  const std::string id_;
  uint64_t sequence_;
  const absl::Time since_;  // earlier events are left out
  const bool takes_all_;    // matches without looking at each event
  bool locates_;            // it begins where since_ is in the journal
  Phase phase_ = Phase::kOpening;
  bool replays_ = false;          // a Progress is due once it catches up for the first time
  bool progress_wanted_ = false;  // until one was reported with which it had caught up
  // The newest event that was sent as not durable, which no Progress has reported as durable; 0:
  // none.
  uint64_t owed_ = 0;
  const absl::Duration interval_;
  absl::Duration progress_due_ = absl::InfiniteDuration();
  VmSnapshotPtr snapshot_;   // snapshot being sent; null: none
  const bool with_stopped_;  // sends its VMs that have stopped, too
  size_t snapshot_vm_ = 0;   // next to send
  EventPage page_;           // the next message
  // The journal has what follows up to this sequence.
  uint64_t journal_through_ = 0;
  bool has_read_ = false;  // the journal, since the last step
};

}  // namespace vmeventd
