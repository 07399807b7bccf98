#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "absl/time/time.h"
#include "server/eventlog/hole.h"
#include "server/events/logged_event.h"

namespace vmeventd {

// The newest events, in memory: those that are public, followed by those that are not public yet.
// In order; sequences may be missing. Pure; its owner locks.
class RecentEvents {
 public:
  // The events take at most `max_bytes`, except for those that Trim() must keep. All sequences up
  // to `newest` are public.
  RecentEvents(size_t max_bytes, uint64_t newest) : max_bytes_(max_bytes), newest_(newest) {}

  // Appends events that are not public yet.
  void Add(const std::vector<EventPtr>& events);
  // Removes the events that were dropped instead of being written.
  void Remove(const Hole& dropped);
  // Makes all events up to `newest` public, at `now` on the monotonic clock. Returns whether there
  // were any.
  bool Publish(uint64_t newest, absl::Duration now);
  // Removes the oldest events while they exceed the maximum, but none after `through`, and not the
  // last one.
  void Trim(uint64_t through);

  // The newest public sequence. Its event may have been removed.
  uint64_t newest() const { return newest_; }
  // The oldest public event in memory; newest() + 1 if there is none.
  uint64_t oldest() const;
  // Approximate memory of all events.
  size_t bytes() const { return bytes_; }
  // Returns the public events from `sequence` on: about `max_bytes` of them, but at least one if
  // there is one.
  std::vector<EventPtr> Read(uint64_t sequence, size_t max_bytes) const;

 private:
  // The first event from `sequence` on.
  std::deque<EventPtr>::const_iterator From(uint64_t sequence) const;

  const size_t max_bytes_;
  std::deque<EventPtr> events_;
  size_t bytes_ = 0;
  uint64_t newest_;
};

}  // namespace vmeventd
