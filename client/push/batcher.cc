#include "client/push/batcher.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/time/time.h"
#include "base/steady_time.h"

namespace vmeventd::client {

bool Batcher::OnEvents(WatchedEvents events) {
  for (int i = 0; i < events.events.size(); ++i) {
    const auto at = static_cast<size_t>(i);
    Item item;
    item.bytes = events.events[i].ByteSizeLong();
    item.event.emplace().Swap(&events.events[i]);
    if (!events.nodes.empty()) item.node = std::move(events.nodes[at]);
    item.position = std::move(events.resume_after[at]);
    if (!Add(std::move(item))) return false;
  }
  return true;
}

bool Batcher::Add(Item item) {
  std::unique_lock<std::mutex> lock(mutex_);
  const bool room = changed_.wait(
      lock, stop_, [this] { return events_ < limits_.waiting && bytes_ < limits_.waiting_bytes; });
  if (!room) return false;
  ++events_;
  bytes_ += item.bytes;
  item.arrival = SteadyNow();
  items_.push_back(std::move(item));
  changed_.notify_all();
  return true;
}

bool Batcher::OnPosition(const ServerPosition& position) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto last = std::find_if(items_.rbegin(), items_.rend(), [&position](const Item& item) {
    return item.position.server == position.server;
  });
  if (last != items_.rend()) {
    last->position = position;  // all of this server's events stand there or before
  } else {
    Item item;
    item.position = position;
    item.arrival = absl::InfinitePast();
    items_.push_back(std::move(item));
    changed_.notify_all();
  }
  return !stop_.stop_requested();
}

void Batcher::Close() {
  const std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

absl::Time Batcher::CompleteAt() const {
  if (items_.empty()) return absl::InfiniteFuture();
  if (closed_ || events_ >= limits_.events || bytes_ >= limits_.bytes) return absl::InfinitePast();
  return items_.front().arrival + limits_.time;
}

std::vector<Batcher::Item> Batcher::Take() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_.stop_requested()) {
    const absl::Time at = CompleteAt();
    if (at <= SteadyNow() || (closed_ && items_.empty())) break;
    const auto sooner = [this, at] { return CompleteAt() < at || closed_; };
    if (at == absl::InfiniteFuture()) {
      changed_.wait(lock, stop_, sooner);
    } else {
      changed_.wait_for(lock, stop_, absl::ToChronoNanoseconds(at - SteadyNow()), sooner);
    }
  }
  std::vector<Item> batch;
  size_t events = 0;
  size_t bytes = 0;
  while (!stop_.stop_requested() && !items_.empty()) {
    const Item& next = items_.front();
    const bool fits =
        events == 0 || (events < limits_.events && bytes + next.bytes <= limits_.bytes);
    if (next.event && !fits) break;
    events += next.event ? 1 : 0;
    bytes += next.bytes;
    batch.push_back(std::move(items_.front()));
    items_.pop_front();
  }
  events_ -= events;
  bytes_ -= bytes;
  changed_.notify_all();
  return batch;
}

void Batcher::Run(WatchSink* to) {
  while (true) {
    std::vector<Item> batch = Take();
    if (batch.empty()) return;
    WatchedEvents events;
    std::map<size_t, ServerPosition> positions;
    for (Item& item : batch) {
      positions[item.position.server] = item.position;
      if (!item.event) continue;
      events.events.Add()->Swap(&*item.event);
      events.nodes.push_back(std::move(item.node));
      events.resume_after.push_back(std::move(item.position));
    }
    if (!events.events.empty() && !to->OnEvents(std::move(events))) return;
    for (const auto& [server, position] : positions) {
      if (!to->OnPosition(position)) return;
    }
  }
}

}  // namespace vmeventd::client
