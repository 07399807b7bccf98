#include "server/events/ring.h"

#include <algorithm>
#include <utility>

namespace vmeventd {

void EventRing::Append(EventBlockPtr block) {
  newest_ = block->last_sequence();
  memory_ += block->memory();
  blocks_.push_back(std::move(block));
  while (blocks_.size() > 1 &&
         (memory_ > options_.max_bytes || newest_ - oldest() + 1 > options_.max_events)) {
    memory_ -= blocks_.front()->memory();
    blocks_.pop_front();
  }
}

void EventRing::Replace(EventBlockPtr block) {
  if (blocks_.empty() || block->first_sequence() < oldest()) return;
  EventBlockPtr& there = blocks_[IndexOf(block->first_sequence())];
  if (there->first_sequence() != block->first_sequence() || there->size() != block->size()) return;
  memory_ += block->memory();
  memory_ -= there->memory();
  there = std::move(block);
}

void EventRing::PutGap(uint64_t first, EventBlockPtr gap) {
  const uint64_t last = gap->last_sequence();
  if (blocks_.empty() || last < oldest()) return;
  const auto begins_before = [](const EventBlockPtr& block, uint64_t sequence) {
    return block->first_sequence() < sequence;
  };
  const auto begin = std::lower_bound(blocks_.begin(), blocks_.end(), first, begins_before);
  const auto end = std::lower_bound(begin, blocks_.end(), last + 1, begins_before);
  for (auto it = begin; it != end; ++it) memory_ -= (*it)->memory();
  memory_ += gap->memory();
  blocks_.insert(blocks_.erase(begin, end), std::move(gap));
}

size_t EventRing::IndexOf(uint64_t sequence) const {
  const auto after = std::upper_bound(
      blocks_.begin(), blocks_.end(), sequence,
      [](uint64_t value, const EventBlockPtr& block) { return value < block->first_sequence(); });
  return after == blocks_.begin() ? 0 : static_cast<size_t>(after - blocks_.begin()) - 1;
}

std::vector<EventBlockPtr> EventRing::BlocksFrom(uint64_t sequence, size_t max_bytes) const {
  std::vector<EventBlockPtr> out;
  if (sequence > newest_ || blocks_.empty()) return out;
  size_t bytes = 0;
  for (size_t i = IndexOf(sequence); i < blocks_.size() && (out.empty() || bytes < max_bytes);
       ++i) {
    bytes += blocks_[i]->memory();
    out.push_back(blocks_[i]);
  }
  return out;
}

std::vector<EventBlockPtr> EventRing::BlocksBackFrom(uint64_t sequence, size_t max_bytes) const {
  std::vector<EventBlockPtr> out;
  if (sequence < oldest() || blocks_.empty()) return out;
  size_t bytes = 0;
  for (size_t i = IndexOf(sequence) + 1; i-- > 0 && (out.empty() || bytes < max_bytes);) {
    bytes += blocks_[i]->memory();
    out.push_back(blocks_[i]);
  }
  return out;
}

}  // namespace vmeventd
