#include "server/eventlog/recent_events.h"

#include <algorithm>

namespace vmeventd {

void RecentEvents::Add(const std::vector<EventPtr>& events) {
  for (const EventPtr& event : events) bytes_ += event->memory();
  events_.insert(events_.end(), events.begin(), events.end());
}

void RecentEvents::Remove(const Hole& dropped) {
  const auto begin = From(dropped.first);
  const auto end = From(dropped.last + 1);
  for (auto event = begin; event != end; ++event) bytes_ -= (*event)->memory();
  events_.erase(begin, end);
}

bool RecentEvents::Publish(uint64_t newest, absl::Duration now) {
  const auto begin = From(newest_ + 1);
  const auto end = From(newest + 1);
  for (auto event = begin; event != end; ++event) (*event)->published = now;
  newest_ = newest;
  return begin != end;
}

void RecentEvents::Trim(uint64_t through) {
  while (events_.size() > 1 && events_.front()->sequence <= through && bytes_ > max_bytes_) {
    bytes_ -= events_.front()->memory();
    events_.pop_front();
  }
}

uint64_t RecentEvents::oldest() const {
  return events_.empty() ? newest_ + 1 : std::min(newest_ + 1, events_.front()->sequence);
}

std::vector<EventPtr> RecentEvents::Read(uint64_t sequence, size_t max_bytes) const {
  std::vector<EventPtr> read;
  const auto end = From(newest_ + 1);
  auto event = From(sequence);
  for (size_t bytes = 0; event != end && bytes < max_bytes; ++event) {
    bytes += (*event)->field.size();
    read.push_back(*event);
  }
  return read;
}

std::deque<EventPtr>::const_iterator RecentEvents::From(uint64_t sequence) const {
  return std::lower_bound(
      events_.begin(), events_.end(), sequence,
      [](const EventPtr& each, uint64_t value) { return each->sequence < value; });
}

}  // namespace vmeventd
