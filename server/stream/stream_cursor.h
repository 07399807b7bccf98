#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/eventlog/event_log.h"
#include "server/events/event_matcher.h"

namespace vmeventd {

// Position of one WatchEvents stream in the log. It queues nothing, so that a slow reader costs
// what one message costs. Knows nothing of the network. One thread at a time. A call of Next takes
// some milliseconds at the most, whatever the filter.
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

  // The next message, a WatchEventsResponse: a Progress first (of the sequence 0 before a
  // snapshot), then the snapshot, then events as they come, and a Progress when the stream has
  // caught up for the first time, unless it began there, and when what it sent has become durable.
  // Unset when there is nothing to send, or when it needs the journal. With `journal` it reads a
  // page of it. A message of more than one event or VM has at most `max_bytes`. With `beat` it
  // reports its Progress when there is nothing to send, or when nothing of a page matches.
  // OUT_OF_RANGE: what comes next is no longer retained.
  absl::StatusOr<std::optional<grpc::ByteBuffer>> Next(bool beat, JournalReader* journal = nullptr,
                                                       size_t max_bytes = kMaxMessageBytes);
  // Returns whether Next returned nothing only because its search took long: call it again, after
  // others.
  bool more() const { return more_; }
  // Returns whether the last call of Next went as far as there were events.
  bool caught_up() const { return caught_up_; }
  // Returns whether nothing follows the last message until more is published.
  bool waits() const { return caught_up_ && !replays_; }
  // Returns whether the last call of Next ended where only the journal has what follows: call it
  // again on the history thread.
  bool needs_journal() const { return needs_journal_; }

  // Contents of the last message of Next.
  struct Sent {
    size_t events = 0;
    // Time at which the oldest of them became public; InfiniteDuration: not known.
    absl::Duration published = absl::InfiniteDuration();
  };
  const Sent& sent() const { return sent_; }

  // Everything matching up to this sequence is in the messages so far. Never falls.
  uint64_t sequence() const { return sequence_; }

 private:
  enum class Phase { kOpening, kSnapshot, kEvents };

  // The newest event that the stream may send.
  static uint64_t Limit(const EventRange& range, bool durable_only) {
    return durable_only ? range.committed : range.newest;
  }
  bool Matches(const EventRecord& event) const {
    // A GAP may name events of a later time than its own, if the clock was set back.
    return (event.observe_time >= since_ || event.is_of_node()) && matcher_.Matches(event);
  }
  bool SearchIsOver() const { return clock_->Now().monotonic >= search_until_; }
  v1::Progress ProgressAt(uint64_t sequence);
  // Adds the next VMs of the snapshot that match and fit; none: the search took long, or there are
  // no more.
  void TakeVms(size_t max_bytes, std::string* message);
  // Adds the event if it matches. False: the message is full, or the search took long.
  bool Take(const LoggedEvent& event, bool durable, size_t max_bytes, std::string* message);
  // Fills a message until it is full, there are no more events, it needs the journal or the search
  // took long.
  absl::Status Collect(JournalReader* journal, size_t max_bytes, std::string* message);

  const EventLog* const log_;
  const Clock* const clock_;
  const EventMatcher matcher_;
  const bool durable_only_;
  const std::string id_;
  uint64_t sequence_;
  Sent sent_;
  const absl::Time since_;  // earlier events are left out
  const bool takes_all_;    // matches without looking at each event
  const bool locates_;      // it begins where since_ is in the journal
  Phase phase_ = Phase::kOpening;
  bool replays_ = false;  // a Progress is due once it catches up for the first time
  // The newest event that was sent as not durable, which no Progress has reported as durable; 0:
  // none.
  uint64_t owed_ = 0;
  const absl::Duration interval_;
  absl::Duration progress_due_ = absl::InfiniteDuration();
  absl::Duration search_until_;
  VmSnapshotPtr snapshot_;  // snapshot being sent; null: none
  size_t snapshot_vm_ = 0;  // next to send
  size_t looked_ = 0;       // number of events that were looked at
  bool more_ = false;
  bool caught_up_ = false;
  bool needs_journal_ = false;
};

}  // namespace vmeventd
