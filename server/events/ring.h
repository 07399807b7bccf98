#ifndef VMEVENTD_SERVER_EVENTS_RING_H_
#define VMEVENTD_SERVER_EVENTS_RING_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "server/events/event_block.h"

namespace vmeventd {

struct EventRingOptions {
  size_t max_bytes = 64 << 20;
  size_t max_events = 1'000'000;
};

// The ring over the newest events, as blocks, in order; between two of them there may be sequences
// that were given up. Bounded by `options`: the oldest blocks go first,
// the newest always stays. Not synchronised: its owner is.
class EventRing {
 public:
  // Begins empty, after the sequence `newest`.
  explicit EventRing(EventRingOptions options, uint64_t newest = 0)
      : options_(options), newest_(newest) {}

  // `block` begins at newest() + 1.
  void Append(EventBlockPtr block);
  // Puts `block` in the place of the one with the same sequences, if that is still here.
  void Replace(EventBlockPtr block);
  // Puts `gap`, a block of one event, in the place of all blocks from `first` on up to its own
  // sequence: they hold nothing else. What is left of them in the ring goes.
  void PutGap(uint64_t first, EventBlockPtr gap);

  // The newest sequence ever appended, or what it began after; and the oldest that is still here,
  // newest() + 1 if none is.
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

 private:
  // The index of the block that holds `sequence`, clamped to what is here.
  size_t IndexOf(uint64_t sequence) const;

  const EventRingOptions options_;
  std::deque<EventBlockPtr> blocks_;
  uint64_t newest_;
  size_t memory_ = 0;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_EVENTS_RING_H_
