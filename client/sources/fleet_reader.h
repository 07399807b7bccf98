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
#include "client/nats/message.h"
#include "client/nats/stream_reader.h"
#include "client/output/invocation.h"
#include "client/output/message_node.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "client/output/print_sentence.h"
#include "vmeventd/v1/fleet.pb.h"

// Reads a fleet's events from its stream, and its VMs and heartbeats from its buckets.

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

// Parses the events of the fleet's stream, and drops repeats: publishers send events again that
// were not acknowledged, or that a restored stream lacks. Each node publishes in the order of its
// journal. One thread.
class FleetEvents {
 public:
  // Maximum number of nodes whose newest event is remembered. Repeats from further nodes are not
  // dropped.
  static constexpr size_t kMaxNodes = 100'000;

  explicit FleetEvents(const PrintSentence& note);

  // Returns the event in a message of the stream, with its position there. nullopt: it does not
  // pass the filter, is a repeat, or is not a message of vmeventd (which is reported).
  std::optional<NodeEvent> Parse(const StoredMessage& stored, const FleetMatcher& filter);

 private:
  bool IsNew(const MessageNode& node, uint64_t sequence);

  const std::function<void(const NatsMessage&, const absl::Status&)> ignore_;
  // Keyed by cluster and node: the node's journal, and the sequence of its newest event.
  std::map<std::pair<std::string, std::string>, std::pair<std::string, uint64_t>> newest_;
};

// Returns the VMs that pass the filter, sorted by name and then by node. NOT_FOUND: there is no
// such bucket. VMs that ran at the last heartbeat of a silent node are marked as stale.
absl::StatusOr<NodeVms> ReadFleetVms(NatsConnection* connection, const FleetFilter& filter,
                                     const FleetEnvironment& env);

// Returns the latest heartbeat of each node that passes the filter, keyed by cluster and node.
// Errors: see ReadFleetVms().
using FleetNodes = std::map<std::pair<std::string, std::string>, v1::NodeHeartbeat>;
absl::StatusOr<FleetNodes> ReadFleetNodes(NatsConnection* connection, const FleetFilter& filter,
                                          const FleetEnvironment& env);

// Calls `take` with each message of these subjects that the stream has from `start` on, until it
// returns false. Messages that are stored later are not read. UNAVAILABLE: nothing came for 5 s.
absl::Status ReadStored(NatsConnection* connection, const std::string& stream,
                        const std::vector<std::string>& subjects, const ReadStart& start,
                        const FleetEnvironment& env,
                        const std::function<bool(StoredMessage)>& take);

}  // namespace vmeventd::client
