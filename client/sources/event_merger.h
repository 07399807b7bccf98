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

// Merges the items of several nodes, each of which is read on its own thread. The events of one
// node stay in order. Events of different nodes are ordered by the time at which they were
// observed, if they arrive at about the same time: an event waits at most `window` for other nodes,
// and at most `longest_wait` behind older events, so that no node delays the others.
class EventMerger {
 public:
  // Maximum number of items of one node that wait to be taken; Add() waits while there are so many.
  static constexpr size_t kMaxWaiting = 2000;

  struct Order {
    absl::Duration window = absl::Milliseconds(500);
    absl::Duration longest_wait = absl::Seconds(5);
    bool newest_first = false;
  };
  // An item of a node's source. It has at most one event. Ended is the last item.
  struct Item {
    size_t node = 0;
    Source::Item what;
  };

  // `clock` measures how long events wait, and must be a clock that is never set. Any thread.
  EventMerger(size_t nodes, Order order, std::function<absl::Time()> clock = SteadyNow)
      : order_(order), clock_(std::move(clock)), queues_(nodes) {}

  // Waits until there is room. False: stopped; no more items are wanted.
  bool Add(Item item, const std::stop_token& stop);
  // Waits for items that need not wait any longer, and returns at most `max` of them. Empty:
  // stopped, or none came within `timeout`.
  std::vector<Item> Take(size_t max, const std::stop_token& stop,
                         absl::Duration timeout = absl::InfiniteDuration());

 private:
  struct Waiting {
    Item item;
    absl::Time arrival;
  };
  struct Queue {
    std::deque<Waiting> items;
    bool ended = false;  // no more items come
  };
  // Returns the node whose item comes next. None: all items have to wait, until `*next` if no more
  // are added.
  std::optional<size_t> Find(absl::Time now, absl::Time* next) const;

  const Order order_;
  const std::function<absl::Time()> clock_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<Queue> queues_;  // guarded by mutex_
};

}  // namespace vmeventd::client
