#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/steady_time.h"
#include "client/commands/commands.h"
#include "client/commands/watch_loop.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/consume/delivery.h"
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

// The lists of several nodes as one: events by time, where those of one node keep their order, and
// VMs by name. Asks all nodes at once, each on a thread of its own. A failed node is noted, the
// others' answers count; the result is then the last node's failure.
class MergedLists : public ListSource {
 public:
  struct Node {
    std::string name;  // shown with its events and VMs
    std::unique_ptr<ListSource> lists;
  };
  // `note` prints a sentence, safe for a terminal, to stderr.
  MergedLists(std::vector<Node> nodes, std::function<void(const std::string&)> note)
      : nodes_(std::move(nodes)), note_(std::move(note)) {}

  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override;
  std::optional<Failure> ReadVms(const VmsCommand& command, VmList* vms) override;
  std::optional<Failure> ReadVm(const VmCommand& command, VmList* vm) override;

 private:
  using Read = std::function<std::optional<Failure>(ListSource* node, VmList* vms)>;

  // Notes all failures but the last, which it returns.
  std::optional<Failure> Report(const std::vector<std::optional<Failure>>& failures) const;
  // Appends what all nodes answer, by name and then by node.
  std::optional<Failure> ReadAll(const Read& read, VmList* vms) const;

  const std::vector<Node> nodes_;
  const std::function<void(const std::string&)> note_;
};

// One node of a merged watch.
struct WatchedNode {
  std::string name;  // shown with its events
  WatchCommand command;
  ServerAddress address;
};

// Watches several nodes at once, each with a WatchLoop on a thread of its own that resumes by
// itself, and merges their events by time. A node that fails for good is reported, and the others
// continue; the watch fails when all nodes have.
class MergedWatch : public WatchSource {
 public:
  // The dependencies. All must outlive the call.
  struct Environment {
    StopSource* stop = nullptr;
    std::function<void(const std::string&)> note;  // as of WatchLoop; any thread
    Resolver resolve = ResolveHost;
    std::function<absl::Time()> clock = SteadyNow;  // by which events wait; any thread
  };

  MergedWatch(std::vector<WatchedNode> nodes, Environment environment);
  ~MergedWatch() override;

  ExitCode Run(WatchSink* sink) override;

 private:
  class Queue;
  class QueueSink;

  // Delivers what is ready until the watch is stopped or all nodes have ended. False: the sink
  // ended it.
  bool DeliverReady(WatchSink* sink);
  bool Deliver(std::vector<EventMerger::Item> items, WatchSink* sink) const;
  ExitCode RunNode(size_t index);

  const std::vector<WatchedNode> nodes_;
  const Environment env_;
  std::unique_ptr<Queue> queue_;
  std::vector<std::unique_ptr<StopSource>> stops_;  // of each node
};

}  // namespace vmeventd::client
