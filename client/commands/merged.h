#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "client/commands/commands.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/consume/source.h"
#include "client/output/node_event.h"

namespace vmeventd::client {

// Merges what several nodes deliver, each on a thread of its own. The events of one node stay in
// order. Of those that several nodes have, the one that was observed first comes first, as far as
// they arrive together: an event waits at most kWindow for the others, and a later one at most
// kLongestWait behind older ones, so that no node holds up the others.
class EventMerger {
 public:
  static constexpr absl::Duration kWindow = absl::Milliseconds(500);
  static constexpr absl::Duration kLongestWait = absl::Seconds(5);
  // Items of one node that were added and not taken; Add() waits while there are so many.
  static constexpr size_t kMaxWaiting = 2000;

  struct Order {
    bool exact = false;  // an event waits for each node, however long
    bool newest_first = false;
  };
  // An event, or another item of the node's source.
  struct Item {
    size_t node = 0;
    std::variant<NodeEvent, Source::Item> what;
  };

  // `clock` measures how long events wait; it is never set. Any thread.
  EventMerger(size_t nodes, Order order, std::function<absl::Time()> clock = SteadyNow)
      : order_(order), clock_(std::move(clock)), queues_(nodes) {}

  // Waits for room. False: no more is wanted.
  bool Add(Item item, const std::stop_token& stop);
  // Ends the node's queue: nothing more comes, and the others' items no longer wait for it.
  void End(size_t node);
  // Waits for items that need not wait any longer, and takes at most `max`. Empty: stopped, all
  // nodes have ended, or none came within `timeout`.
  std::vector<Item> Take(size_t max, const std::stop_token& stop,
                         absl::Duration timeout = absl::InfiniteDuration());
  // Returns whether all nodes have ended and all items are taken.
  bool done();

 private:
  struct Waiting {
    Item item;
    absl::Time arrival;
  };
  struct Queue {
    std::deque<Waiting> items;
    bool ended = false;
  };
  // The node whose item comes next; none: all wait. `next`: until then, unless more are added.
  std::optional<size_t> Find(absl::Time now, absl::Time* next) const;
  bool IsDone() const;

  const Order order_;
  const std::function<absl::Time()> clock_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<Queue> queues_;  // guarded by mutex_
};

// The lists of several nodes as one: events by time, where those of one node stay in order, and
// VMs by name. Asks all nodes at once, each on a thread of its own. A failed node is noted, the
// others' answers count; the result is then the last node's failure.
class MergedLists : public ListSource {
 public:
  struct Node {
    std::string name;  // shown with its events and VMs
    std::unique_ptr<ListSource> lists;
  };
  MergedLists(std::vector<Node> nodes, PrintSentence note)
      : nodes_(std::move(nodes)), note_(std::move(note)) {}

  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override;
  std::optional<Failure> ReadVms(const VmsCommand& command, NodeVms* vms) override;

 private:
  using Answers = std::vector<std::future<std::optional<Failure>>>;

  // Runs `ask` for each node on a thread of its own.
  Answers AskAll(const std::function<std::optional<Failure>(size_t)>& ask) const;
  // Waits for all. Notes all failures but the last, which it returns.
  std::optional<Failure> Report(Answers answers) const;

  const std::vector<Node> nodes_;
  const PrintSentence note_;
};

// A node of a merged watch.
struct WatchedNode {
  std::string name;  // shown with its events
  WatchCommand command;
  ServerAddress address;
};

// Watches several nodes at once, each with a DaemonSource on a thread of its own, and merges their
// events by time. A node that fails for good is reported, and the others continue; the watch fails
// when all nodes have.
class MergedSource : public Source {
 public:
  // The dependencies. All must outlive the source.
  struct Environment {
    StopSource* stop = nullptr;
    PrintSentence note;                             // called as DaemonSource's; any thread
    std::function<absl::Time()> clock = SteadyNow;  // the time by which events wait; any thread
  };

  MergedSource(std::vector<WatchedNode> nodes, Environment environment);
  ~MergedSource() override;

  Item Next(absl::Duration timeout) override;
  std::string loss() override { return ""; }

 private:
  // Passes what the node delivers to the merger, on its thread.
  void Follow(size_t node);
  // Passes what was taken from the merger to `ready_`.
  void Deliver(std::vector<EventMerger::Item> items);

  const std::vector<WatchedNode> nodes_;
  const Environment env_;
  StopSource stop_;  // of the nodes' sources
  EventMerger merger_;
  std::deque<Item> ready_;
  std::vector<ExitCode> codes_;  // each written by its node's thread, before its End()
  const std::stop_callback<std::function<void()>> on_stop_;
  std::vector<std::jthread> threads_;
};

}  // namespace vmeventd::client
