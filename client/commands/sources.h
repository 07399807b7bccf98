#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "client/commands/commands.h"
#include "client/connect/connection.h"
#include "client/connect/server_address.h"
#include "client/consume/source.h"
#include "client/output/node_event.h"
#include "client/output/output.h"

// The sources of one daemon, and of several as one.

namespace vmeventd::client {

// Ends a stream that is silent for so long, while it is read.
struct Silence {
  absl::Duration limit = absl::Seconds(30);       // three progress intervals
  std::function<absl::Time()> clock = SteadyNow;  // measures it
};

// Makes the source of one daemon's events. It continues over any number of streams with nothing
// lost or repeated, and relies on the contract: the sequences of one journal increase on a stream,
// and none is given twice; Progress opens every stream, names the journal, and gives the sequence
// up to which everything was sent, and everything is durable. A snapshot counts once it is
// complete; until then it is requested again. The position never passes what is not durable: the
// next stream sends that again, and it is dropped if it was shown.
std::unique_ptr<Source> WatchDaemon(WatchCommand command, ServerAddress address,
                                    ReconnectingSource::Environment environment,
                                    Silence silence = {});

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
  // An event, or another item of the node's source; Ended is its last.
  struct Item {
    size_t node = 0;
    std::variant<NodeEvent, Source::Item> what;
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

struct NodeLists {
  std::string name;  // shown with its events and VMs
  std::unique_ptr<ListSource> lists;
};
// The lists of several nodes as one: events by time, where those of one node stay in order, and
// VMs by name. Asks all nodes at once, each on a thread of its own. A failed node is noted, the
// others' answers count; the result is then the last node's failure.
std::unique_ptr<ListSource> MergeLists(std::vector<NodeLists> nodes, PrintSentence note);

struct WatchedNode {
  std::string name;  // shown with its events
  WatchCommand command;
  ServerAddress address;
};
// Watches several nodes at once, each on a thread of its own, and merges their events by time. A
// node that fails for good is reported, and the others continue; the watch fails when all nodes
// have. `stop` must outlive the source; any thread calls `note`, and `clock`, by which events wait.
std::unique_ptr<Source> WatchNodes(std::vector<WatchedNode> nodes, StopSource* stop,
                                   PrintSentence note,
                                   std::function<absl::Time()> clock = SteadyNow);

}  // namespace vmeventd::client
