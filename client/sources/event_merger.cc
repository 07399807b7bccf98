#include "client/sources/event_merger.h"

#include <algorithm>
#include <variant>

#include "watcher/core/proto_time.h"

namespace vmeventd::client {

std::optional<size_t> EventMerger::Find(absl::Time now, absl::Time* next) const {
  std::optional<size_t> first;    // the node whose event comes first
  std::optional<size_t> overdue;  // one whose event has waited for long enough
  absl::Time first_time;
  bool all_have_one = true;
  *next = absl::InfiniteFuture();
  for (size_t node = 0; node < queues_.size(); ++node) {
    const Queue& queue = queues_[node];
    if (queue.items.empty()) {
      all_have_one = all_have_one && queue.ended;
      continue;
    }
    const Waiting& waiting = queue.items.front();
    const auto* events = std::get_if<NodeEvents>(&waiting.item.what);
    if (events == nullptr) return node;  // time orders events only
    const absl::Time patience = waiting.arrival + order_.longest_wait;
    *next = std::min(*next, patience);
    if (!overdue && patience <= now) overdue = node;
    const absl::Time time = FromTimestamp(events->front().event.observe_time());
    if (first && (order_.newest_first ? time <= first_time : time >= first_time)) continue;
    first = node;
    first_time = time;
  }
  if (!first || all_have_one) return first;
  const absl::Time complete = queues_[*first].items.front().arrival + order_.window;
  *next = std::min(*next, complete);
  return complete <= now ? first : overdue;
}

bool EventMerger::Add(Item item, const std::stop_token& stop) {
  std::unique_lock<std::mutex> lock(mutex_);
  Queue& queue = queues_[item.node];
  if (!changed_.wait(lock, stop, [&] { return queue.items.size() < kMaxWaiting; })) return false;
  queue.ended = std::holds_alternative<Source::Ended>(item.what);
  queue.items.push_back({std::move(item), clock_()});
  changed_.notify_all();
  return true;
}

std::vector<EventMerger::Item> EventMerger::Take(size_t max, const std::stop_token& stop,
                                                 absl::Duration timeout) {
  std::unique_lock<std::mutex> lock(mutex_);
  const absl::Time end = clock_() + timeout;
  std::vector<Item> items;
  while (!stop.stop_requested()) {
    const absl::Time now = clock_();
    absl::Time due;
    while (items.size() < max) {
      const std::optional<size_t> node = Find(now, &due);
      if (!node) break;
      items.push_back(std::move(queues_[*node].items.front().item));
      queues_[*node].items.pop_front();
    }
    if (!items.empty() || now >= end) break;
    const auto sooner = [this, now, due] {
      absl::Time next;
      return Find(now, &next) || next < due;
    };
    const absl::Duration wait = std::min(std::min(due, end) - now, absl::Hours(1));
    changed_.wait_for(lock, stop, absl::ToChronoNanoseconds(wait), sooner);
  }
  changed_.notify_all();
  return items;
}

}  // namespace vmeventd::client
