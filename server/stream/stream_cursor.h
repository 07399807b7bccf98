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
#include "server/events/event_record.h"
#include "server/events/vm_snapshot.h"

namespace vmeventd {

// Position of one WatchEvents stream in the log. It queues nothing, so a slow reader costs no more
// than one message. It does not use the network. One thread at a time. A call takes some
// milliseconds at most, whatever the filter is.
class StreamCursor {
 public:
  // Limit of a message with more than one event or VM.
  static constexpr size_t kMaxMessageBytes = size_t{256} << 10;
  // Limit of a search for one message; beyond it, the stream reports its progress instead, so that
  // a filter that matches nothing does not occupy a thread for long.
  static constexpr absl::Duration kMaxSearch = absl::Milliseconds(5);

  // `log` and `clock` outlive the cursor. The stream begins with the matching part of
  // begin.snapshot, if that is set. Its first Progress has the `id`. A Progress is also sent every
  // `interval`, between messages with events.
  StreamCursor(const EventLog* log, const Clock* clock, StreamBegin begin, EventMatcher matcher,
               bool durable_only = false, std::string id = "",
               absl::Duration interval = absl::InfiniteDuration());

  // The action that follows a step: another step, after other streams had their turn; ReadJournal;
  // or none until more is published.
  enum class Follows { kMore, kReading, kPublication };
  struct Step {
    std::string message{};  // an encoded WatchEventsResponse to send; empty: none
    Follows follows = Follows::kMore;
    size_t events = 0;  // number in the message
    // Time at which the oldest of them became public; InfiniteDuration: not known.
    absl::Duration published = absl::InfiniteDuration();
  };
  // Returns the next part of the stream: first a Progress (with the sequence 0 before a snapshot),
  // then the snapshot, then events as they come. Another Progress follows when the stream has
  // caught up for the first time, unless it began at the end, and when the events that it sent have
  // become durable. A message of more than one event or VM has at most `max_bytes`.
  Step Next(size_t max_bytes = kMaxMessageBytes);
  // Reads a page of the journal, after a step with kReading. OUT_OF_RANGE: the next event is no
  // longer retained.
  absl::Status ReadJournal(JournalReader* journal, size_t max_bytes = kMaxMessageBytes);
  // Makes the stream send a Progress once it has nothing else to send, or after a page without a
  // match.
  void RequestProgress() { progress_wanted_ = true; }

  // Sequence up to which all matching events are in the messages that were returned so far. Never
  // decreases.
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
  // Adds events to the page until it is full, there are no more, the next ones are only in the
  // journal, or the search took long.
  void TakeEvents(Step* step);

  const EventLog* const log_;
  const Clock* const clock_;
  const EventMatcher matcher_;
  const bool durable_only_;
  const std::string id_;
  uint64_t sequence_;
  const absl::Time since_;  // earlier events are left out
  const bool takes_all_;    // matches without looking at each event
  bool locates_;            // the start must be found in the journal, by since_
  Phase phase_ = Phase::kOpening;
  bool replays_ = false;          // a Progress is due once it catches up for the first time
  bool progress_wanted_ = false;  // until one was sent when it had caught up
  // The newest event that was sent as not durable and that no Progress has reported as durable
  // since; 0: none.
  uint64_t unconfirmed_ = 0;
  const absl::Duration interval_;
  absl::Duration progress_due_ = absl::InfiniteDuration();
  VmSnapshotPtr snapshot_;   // snapshot being sent; null: none
  const bool with_stopped_;  // sends also the stopped VMs of the snapshot
  size_t snapshot_vm_ = 0;   // next to send
  EventPage page_;           // the next message
  // Sequence up to which the next events are in the journal.
  uint64_t journal_through_ = 0;
  bool has_read_ = false;  // has read the journal since the last step
};

}  // namespace vmeventd
