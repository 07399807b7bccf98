#ifndef VMEVENTD_CLIENT_COMMANDS_MERGED_WATCH_H_
#define VMEVENTD_CLIENT_COMMANDS_MERGED_WATCH_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/steady_time.h"
#include "client/commands/watch_loop.h"
#include "client/connect/exit_code.h"
#include "client/connect/stop_source.h"
#include "client/consume/cursor_file.h"
#include "client/consume/event_consumer.h"

namespace vmeventd::client {

// One node of a merged watch.
struct WatchedNode {
  std::string name;    // shown with its events
  std::string server;  // its key in the cursor file
  WatchCommand command;
  ServerAddress address;
};

// Watches several nodes at once, each with a WatchLoop on a thread of its own that resumes by
// itself, and merges their events by time. A node that fails for good is reported, and the others
// continue.
class MergedWatch {
 public:
  // The dependencies. All must outlive the call.
  struct Environment {
    EventConsumer* consumer = nullptr;
    CursorFile* cursor = nullptr;  // null: none is kept
    StopSource* stop = nullptr;
    std::function<void(const std::string&)> note;  // as of WatchLoop; any thread
    Resolver resolve = ResolveHost;
    std::function<absl::Time()> clock = SteadyNow;  // by which events wait; any thread
  };

  // `count` is of all nodes together.
  MergedWatch(std::vector<WatchedNode> nodes, std::optional<uint64_t> count,
              Environment environment);
  ~MergedWatch();

  // Blocks. Returns when the count is reached, when stopped, when the consumer fails, or when all
  // nodes have failed; codes as of WatchLoop.
  ExitCode Run();

 private:
  class Queue;
  class QueueSink;

  // Consumes what is ready. An error ends the watch.
  absl::Status ConsumeReady();
  ExitCode RunNode(size_t index);

  const std::vector<WatchedNode> nodes_;
  const std::optional<uint64_t> count_;
  const Environment env_;
  std::unique_ptr<Queue> queue_;
  std::vector<std::unique_ptr<StopSource>> stops_;  // of each node
  uint64_t counted_ = 0;                            // of the consumed events, those that count
  bool begun_ = false;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_COMMANDS_MERGED_WATCH_H_
