#include "server/eventlog/publication_queue.h"

namespace vmeventd {

absl::Duration PublicationQueue::NextDue(const Backlog& backlog, absl::Duration now) const {
  if (turns_.empty()) return absl::InfiniteDuration();
  const UnpublishedTurn& next = turns_.front();
  const bool waits = next.has_batch && !backlog.IsWritten(next.turn);
  const bool is_hopeful = backlog.IsWritable(now);
  return waits && is_hopeful ? next.added + kPatience : absl::ZeroDuration();
}

std::vector<UnpublishedTurn> PublicationQueue::TakeDue(const Backlog& backlog, absl::Duration now) {
  std::vector<UnpublishedTurn> due;
  while (NextDue(backlog, now) <= now) {
    due.push_back(std::move(turns_.front()));
    turns_.pop_front();
    if (!backlog.IsWritten(due.back().turn)) due.back().observed.clear();
  }
  return due;
}

}  // namespace vmeventd
