#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/nats/connection.h"
#include "client/output/invocation.h"
#include "client/output/print_sentence.h"

namespace vmeventd::client {

// The dependencies of code that reads a fleet.
struct FleetEnvironment {
  std::function<absl::StatusOr<std::unique_ptr<NatsConnection>>()> connect;
  std::string servers;             // names the servers in messages
  Invocation invocation;           // also for messages
  std::vector<std::string> nodes;  // globs; see FleetFilter
  PrintSentence note;
  std::function<absl::Time()> now = absl::Now;    // the time to compare heartbeats with
  std::function<absl::Time()> clock = SteadyNow;  // a clock that is never set
};

}  // namespace vmeventd::client
