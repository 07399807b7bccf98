#ifndef VMEVENTD_CLIENT_COMMANDS_MERGED_WATCH_H_
#define VMEVENTD_CLIENT_COMMANDS_MERGED_WATCH_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/steady_time.h"
#include "client/commands/event_merger.h"
#include "client/commands/watch_loop.h"
#include "client/connect/failure.h"
#include "client/connect/stop_source.h"
#include "client/consume/watch_sink.h"

namespace vmeventd::client {

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

#endif  // VMEVENTD_CLIENT_COMMANDS_MERGED_WATCH_H_
