#ifndef VMEVENTD_CLIENT_COMMANDS_EVENT_MERGER_H_
#define VMEVENTD_CLIENT_COMMANDS_EVENT_MERGER_H_

#include <cstddef>
#include <deque>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "client/consume/watch_sink.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Merges what the watches of several nodes deliver. The events of one node keep their order. Of
// those that several nodes have, the one that was observed first comes first, as far as they arrive
// together: an event waits at most kWindow for the others, and a later one at most kLongestWait
// behind older ones, so that no node holds up the others. Pure; times are of any clock that is
// never set.
class EventMerger {
 public:
  static constexpr absl::Duration kWindow = absl::Milliseconds(500);
  static constexpr absl::Duration kLongestWait = absl::Seconds(5);

  // One of an event, a snapshot, or a position alone.
  struct Item {
    size_t node = 0;
    std::optional<v1::Event> event;
    std::optional<MessageNode> from;  // of the event, where its watch identifies it
    std::optional<google::protobuf::RepeatedPtrField<v1::Vm>> vms;
    // Position at which the node's watch continues once this and everything before it is done with.
    std::optional<WatchPosition> position;
  };

  explicit EventMerger(size_t nodes) : queues_(nodes) {}

  void Add(Item item, absl::Time now);
  // The next item that need not wait any longer. With InfiniteFuture nothing waits.
  std::optional<Item> Take(absl::Time now);
  // When Take() has the next item, unless more are added; InfiniteFuture: there is none.
  absl::Time NextTime() const;
  size_t waiting(size_t node) const { return queues_[node].size(); }

 private:
  struct Waiting {
    Item item;
    absl::Time arrival;
  };
  Item Pop(size_t node);
  // The node whose first event was observed first.
  std::optional<size_t> Oldest() const;
  bool AllHaveOne() const;

  std::vector<std::deque<Waiting>> queues_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_COMMANDS_EVENT_MERGER_H_
