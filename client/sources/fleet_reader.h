#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/fleet/fleet_filter.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"
#include "client/nats/stream_reader.h"
#include "client/output/invocation.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "client/output/output.h"
#include "vmeventd/v1/fleet.pb.h"

// What a fleet has: the events of its stream, the VMs and the heartbeats of its buckets.

namespace vmeventd::client {

// The dependencies of those that read a fleet.
struct FleetEnvironment {
  std::function<absl::StatusOr<std::unique_ptr<NatsConnection>>()> connect;
  std::string servers;             // names the servers in messages
  Invocation invocation;           // for messages, too
  std::vector<std::string> nodes;  // globs, see FleetFilter
  PrintSentence note;
  std::function<absl::Time()> now = absl::Now;    // the time to compare heartbeats with
  std::function<absl::Time()> clock = SteadyNow;  // is never set
};

// The events of the fleet's stream, each once: publishers send again what was not acknowledged, and
// what a stream lacks that was restored, each node in the order of its journal. One thread.
class FleetEvents {
 public:
  // Nodes whose newest event is remembered; of others, repeats come.
  static constexpr size_t kMaxNodes = 100'000;

  explicit FleetEvents(const PrintSentence& note);

  // The event of a message of the stream, with its position there; nullopt: it does not pass the
  // filter, came before, or is not what vmeventd writes there, which is reported.
  std::optional<NodeEvent> Parse(const StoredMessage& stored, const FleetMatcher& filter);

 private:
  bool IsNew(const MessageNode& node, uint64_t sequence);

  const std::function<void(const NatsMessage&, const absl::Status&)> ignore_;
  // The journal of each node, by its cluster and name, and the newest event.
  std::map<std::pair<std::string, std::string>, std::pair<std::string, uint64_t>> newest_;
};

// The VMs that pass the filter, by name and then by node. NOT_FOUND: there is no such
// bucket. VMs that ran at the last heartbeat of a node that is silent are stale.
absl::StatusOr<NodeVms> ReadFleetVms(NatsConnection* connection, const FleetFilter& filter,
                                     const FleetEnvironment& env);

// The latest heartbeat of each node that passes the filter, by cluster and node. Errors: see
// ReadFleetVms().
using FleetNodes = std::map<std::pair<std::string, std::string>, v1::NodeHeartbeat>;
absl::StatusOr<FleetNodes> ReadFleetNodes(NatsConnection* connection, const FleetFilter& filter,
                                          const FleetEnvironment& env);

// Calls `take` with each message that the stream has of these subjects from `start` on, until it
// returns false. Later messages do not prolong the read. UNAVAILABLE: nothing came for 5 s.
absl::Status ReadStored(NatsConnection* connection, const std::string& stream,
                        const std::vector<std::string>& subjects, const ReadStart& start,
                        const FleetEnvironment& env,
                        const std::function<bool(StoredMessage)>& take);

}  // namespace vmeventd::client
