#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "client/connect/server_address.h"
#include "client/connect/stop_source.h"
#include "client/output/print_sentence.h"
#include "client/sources/source.h"
#include "client/sources/watch_command.h"

namespace vmeventd::client {

struct WatchedNode {
  std::string name;  // shown with its events
  WatchCommand command;
  ServerAddress address;
};
// Watches several nodes at once, each on its own thread, and merges their events by time. A node
// that fails permanently is reported, and the others continue; the watch fails when all nodes have
// failed. `stop` must outlive the source. `note` is called by any thread, and so is `clock`, which
// measures how long events wait.
std::unique_ptr<Source> WatchNodes(std::vector<WatchedNode> nodes, StopSource* stop,
                                   PrintSentence note,
                                   std::function<absl::Time()> clock = SteadyNow);

}  // namespace vmeventd::client
