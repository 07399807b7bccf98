#pragma once

#include <deque>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/eventlog/backlog.h"
#include "server/eventlog/unpublished_turn.h"

namespace vmeventd {

// The turns that are not public yet, in order. A turn is due once the backlog has written it, or
// has waited for the disk for kPatience; at once while the disk fails. Pure; its owner locks.
class PublicationQueue {
 public:
  static constexpr absl::Duration kPatience = absl::Seconds(1);

  void Add(UnpublishedTurn turn) { turns_.push_back(std::move(turn)); }
  bool empty() const { return turns_.empty(); }
  // Time at which the next turn is due, on the monotonic clock; zero: now; infinite: none waits.
  absl::Duration NextDue(const Backlog& backlog, absl::Duration now) const;
  // Returns the turns that are due, in order, and removes them. Those that are not written have no
  // `observed`: they are not durable.
  std::vector<UnpublishedTurn> TakeDue(const Backlog& backlog, absl::Duration now);

 private:
  std::deque<UnpublishedTurn> turns_;
};

}  // namespace vmeventd
