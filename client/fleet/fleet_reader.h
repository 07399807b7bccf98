#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/nats/connection.h"
#include "base/nats/stream_reader.h"
#include "client/fleet/fleet_filter.h"
#include "client/fleet/fleet_message.h"
#include "client/output/node_event.h"
#include "client/output/output.h"
#include "vmeventd/v1/fleet.pb.h"
#include "vmeventd/v1/vm_events.pb.h"

// Reads a fleet's stream of events, and the last states in its key-value buckets.

namespace vmeventd::client {

// Longest time by which an event was stored before its own time: the clocks of node and server
// differ.
inline constexpr absl::Duration kMostSkew = absl::Minutes(5);

// Counts the messages that are not what vmeventd writes there, and notes the first, the tenth, the
// hundredth and so on. One thread.
class LeftOut {
 public:
  // `where` names the stream or bucket.
  LeftOut(PrintSentence note, std::string where)
      : note_(std::move(note)), where_(std::move(where)) {}
  void Add(const NatsMessage& message, const absl::Status& why);

 private:
  const PrintSentence note_;
  const std::string where_;
  uint64_t count_ = 0;
  uint64_t next_note_ = 1;
};

// Reads the events of the fleet's stream that pass a filter, each once and in order. One thread.
class FleetEventReader {
 public:
  struct Environment {
    PrintSentence note;
    std::function<absl::Time()> clock = SteadyNow;
    std::function<absl::Time()> now = absl::Now;  // the time to compare heartbeats with
  };

  // Errors as of StreamReader, and NOT_FOUND: there is no such stream. `connection` must outlive
  // it.
  static absl::StatusOr<std::unique_ptr<FleetEventReader>> Open(NatsConnection* connection,
                                                                const FleetFilter& filter,
                                                                const ReadStart& start,
                                                                Environment environment);

  struct Item {
    uint64_t stream_sequence = 0;
    std::string message_id;          // an id as of IdToKeep
    absl::Time time;                 // time of storage
    std::optional<NodeEvent> event;  // nullopt: the filter leaves it out; without a position
  };
  // Reads the next message; nullopt: none came within `timeout`. Errors as of StreamReader.
  absl::StatusOr<std::optional<Item>> Next(absl::Duration timeout);
  uint64_t pending() const { return reader_->pending(); }
  absl::StatusOr<std::optional<uint64_t>> AskScanned() { return reader_->AskScanned(); }

 private:
  FleetEventReader(std::unique_ptr<StreamReader> reader, const FleetFilter& filter,
                   Environment environment);

  const std::unique_ptr<StreamReader> reader_;
  const FleetMatcher matcher_;
  const Environment env_;
  LeftOut left_out_;
};

// Limit of the servers' silence; beyond it, a read fails with UNAVAILABLE.
inline constexpr absl::Duration kPatience = absl::Seconds(5);

// The VMs that the filter lets through, by name and then by node. NOT_FOUND: there is no such
// bucket. A node whose heartbeat is not there counts as living.
absl::StatusOr<NodeVms> ReadFleetVms(NatsConnection* connection, const FleetFilter& filter,
                                     const FleetEventReader::Environment& environment);

// The latest heartbeat of each node that the filter lets through, by cluster and node. Errors
// as of ReadFleetVms().
absl::StatusOr<std::vector<v1::NodeHeartbeat>> ReadFleetNodes(
    NatsConnection* connection, const FleetFilter& filter,
    const FleetEventReader::Environment& environment);

}  // namespace vmeventd::client
