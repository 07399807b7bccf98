#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "client/sources/source.h"

namespace vmeventd::client {

// Merges what several nodes deliver, each on a thread of its own. The events of one node stay in
// order. Of those that several nodes have, the one that was observed first comes first, as far as
// they arrive together: an event waits at most `window` for the others, and a later one at most
// `longest_wait` behind older ones, so that no node holds up the others.
class EventMerger {
 public:
  // Items of one node that were added and not taken; Add() waits while there are so many.
  static constexpr size_t kMaxWaiting = 2000;

  struct Order {
    absl::Duration window = absl::Milliseconds(500);
    absl::Duration longest_wait = absl::Seconds(5);
    bool newest_first = false;
  };
  // Item of a node's source: one event alone, or none; Ended is its last.
  struct Item {
    size_t node = 0;
    Source::Item what;
  };

  // `clock` measures how long events wait; it is never set. Any thread.
  EventMerger(size_t nodes, Order order, std::function<absl::Time()> clock = SteadyNow)
      : order_(order), clock_(std::move(clock)), queues_(nodes) {}

  // Waits for room. False: no more is wanted.
  bool Add(Item item, const std::stop_token& stop);
  // Waits for items that need not wait any longer, and takes at most `max`. Empty: stopped, or none
  // came within `timeout`.
  std::vector<Item> Take(size_t max, const std::stop_token& stop,
                         absl::Duration timeout = absl::InfiniteDuration());

 private:
  struct Waiting {
    Item item;
    absl::Time arrival;
  };
  struct Queue {
    std::deque<Waiting> items;
    bool ended = false;  // nothing more comes
  };
  // The node whose item comes next; none: all wait. `next`: until then, unless more are added.
  std::optional<size_t> Find(absl::Time now, absl::Time* next) const;

  const Order order_;
  const std::function<absl::Time()> clock_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<Queue> queues_;  // guarded by mutex_
};

}  // namespace vmeventd::client
