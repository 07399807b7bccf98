#include "client/commands/event_merger.h"

#include <algorithm>
#include <utility>

#include "client/output/time_text.h"

namespace vmeventd::client {

void EventMerger::Add(Item item, absl::Time now) {
  const size_t node = item.node;
  queues_[node].push_back({std::move(item), now});
}

EventMerger::Item EventMerger::Pop(size_t node) {
  Item item = std::move(queues_[node].front().item);
  queues_[node].pop_front();
  return item;
}

std::optional<size_t> EventMerger::Oldest() const {
  std::optional<size_t> oldest;
  absl::Time oldest_time;
  for (size_t node = 0; node < queues_.size(); ++node) {
    if (queues_[node].empty()) continue;
    const absl::Time time = FromProto(queues_[node].front().item.event->observe_time());
    if (oldest && time >= oldest_time) continue;
    oldest = node;
    oldest_time = time;
  }
  return oldest;
}

bool EventMerger::AllHaveOne() const {
  return std::none_of(queues_.begin(), queues_.end(),
                      [](const auto& queue) { return queue.empty(); });
}

std::optional<EventMerger::Item> EventMerger::Take(absl::Time now) {
  for (size_t node = 0; node < queues_.size(); ++node) {
    // Only events are ordered by time.
    if (!queues_[node].empty() && !queues_[node].front().item.event) return Pop(node);
  }
  const std::optional<size_t> oldest = Oldest();
  if (!oldest) return std::nullopt;
  if (AllHaveOne() || queues_[*oldest].front().arrival + kWindow <= now) return Pop(*oldest);
  for (size_t node = 0; node < queues_.size(); ++node) {
    if (!queues_[node].empty() && queues_[node].front().arrival + kLongestWait <= now) {
      return Pop(node);
    }
  }
  return std::nullopt;
}

absl::Time EventMerger::NextTime() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& queue : queues_) {
    if (queue.empty()) continue;
    const Waiting& first = queue.front();
    if (!first.item.event) return absl::InfinitePast();
    next = std::min(next, first.arrival + kLongestWait);
  }
  if (next == absl::InfiniteFuture()) return next;
  if (AllHaveOne()) return absl::InfinitePast();
  return std::min(next, queues_[*Oldest()].front().arrival + kWindow);
}

}  // namespace vmeventd::client
