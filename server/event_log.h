#ifndef VMEVENTD_SERVER_EVENT_LOG_H_
#define VMEVENTD_SERVER_EVENT_LOG_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "absl/time/time.h"
#include "server/event_block.h"

namespace vmeventd {

struct EventLogOptions {
  size_t max_bytes = 64 << 20;
  size_t max_events = 1'000'000;
};

// The ring over the newest events, as blocks. Bounded by `options`: the oldest blocks go first,
// the newest always stays. Not synchronised: its owner is.
class EventLog {
 public:
  // Sequences begin at 1.
  explicit EventLog(EventLogOptions options) : options_(options) {}

  // `block` begins at newest() + 1.
  void Append(EventBlockPtr block);

  // The newest sequence ever appended, 0 if none; and the oldest that is still here, newest() + 1
  // if none is.
  uint64_t newest() const { return newest_; }
  uint64_t oldest() const {
    return blocks_.empty() ? newest_ + 1 : blocks_.front()->first_sequence();
  }
  size_t memory() const { return memory_; }

  // Blocks in order from the one that holds `sequence` or, where that is gone, the oldest: as many
  // as hold `max_bytes` (at least one), none past the newest.
  std::vector<EventBlockPtr> BlocksFrom(uint64_t sequence, size_t max_bytes) const;
  // Likewise backwards: from the one that holds `sequence` (or the newest) to older ones.
  std::vector<EventBlockPtr> BlocksBackFrom(uint64_t sequence, size_t max_bytes) const;

  // The first event observed at `time` or later; newest() + 1 if there is none.
  uint64_t FirstSince(absl::Time time) const;
  // Whether an event observed at `time` or later has been evicted already.
  bool EvictedSince(absl::Time time) const { return evicted_latest_ >= time; }

 private:
  // The index of the block that holds `sequence`, clamped to what is here.
  size_t IndexOf(uint64_t sequence) const;

  const EventLogOptions options_;
  std::deque<EventBlockPtr> blocks_;
  uint64_t newest_ = 0;
  size_t memory_ = 0;
  absl::Time evicted_latest_ = absl::InfinitePast();
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_EVENT_LOG_H_
