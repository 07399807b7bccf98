#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/token_bucket.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

// Limit shared by all VMs of a node, for events beyond what a quiet VM sends. It bounds how fast
// many VMs that flood, or one that is started again and again, push the history of the others out
// of the journal: a day for a million events.
inline constexpr TokenRate kNodeEvents{.per_second = 10, .burst = 20'000};

// Bounds the events of one VM, so that a guest that floods costs its own events only: kBurst at
// once, kPerSecond in the long run. Of these, kQuietBurst at once and kQuietPerSecond are the VM's
// own, whatever others do; the rest is the node's.
//
// An event that is evidence or changes the VM's state is admitted past both bounds if none of its
// type was for kEvidenceInterval: a flood of another kind does not hide it. It is owed.
class EventLimiter {
 public:
  static constexpr int kBurst = 200;
  static constexpr int kPerSecond = 50;
  static constexpr int kQuietBurst = 20;
  static constexpr int kQuietPerSecond = 1;
  static constexpr absl::Duration kEvidenceInterval = absl::Seconds(10);

  // `node`, of kNodeEvents, outlives the limiter; null: the node has no bound.
  explicit EventLimiter(TokenBucket* node = nullptr) : node_(node) {}

  // Admits an event, or counts a drop.
  bool Admit(EventType type, absl::Duration now);

  // Returns the number of drops since the last call.
  uint64_t TakeDropped() { return std::exchange(dropped_, 0); }
  // Number of all drops.
  uint64_t dropped_total() const { return dropped_total_; }

 private:
  TokenBucket* node_;
  TokenBucket vm_{kBurst, kPerSecond};
  TokenBucket quiet_{kQuietBurst, kQuietPerSecond};
  // When one of each type that is evidence or state was admitted last. Few VMs have any: no table.
  struct Admitted {
    EventType type;
    absl::Duration at;
  };
  std::vector<Admitted> admitted_;
  uint64_t dropped_ = 0;
  uint64_t dropped_total_ = 0;
};

}  // namespace vmeventd
