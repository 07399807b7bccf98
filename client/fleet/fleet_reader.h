#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/fleet/fleet_filter.h"
#include "client/fleet/fleet_message.h"
#include "client/nats/connection.h"
#include "client/nats/stream_reader.h"
#include "client/output/node_event.h"
#include "client/output/output.h"
#include "vmeventd/v1/fleet.pb.h"
#include "vmeventd/v1/vm_events.pb.h"

// Reads a fleet's stream of events, and the last states in its key-value buckets.

namespace vmeventd::client {

// Longest time by which an event was stored before its own time: the clocks of node and server
// differ.
inline constexpr absl::Duration kMaxSkew = absl::Minutes(5);

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

// Recognises the events that the stream has again: publishers send again what was not acknowledged,
// and what a stream lacks that was restored. Remembers of each node its journal, the newest event,
// and which of those before it came; what is older than those counts as a repeat. One thread.
class Repeats {
 public:
  // Events that it remembers of a node: more than a publisher has under way.
  static constexpr size_t kWindow = 1024;
  // Nodes that it remembers; beyond them, repeats come.
  static constexpr size_t kMaxNodes = 100'000;

  // Remembers the event. False: it came before.
  bool IsNew(const MessageNode& node, uint64_t sequence);

 private:
  struct Known {
    std::string journal_id;
    uint64_t newest = 0;
    std::bitset<kWindow> seen;  // of `newest` and those before it
  };
  std::map<std::pair<std::string, std::string>, Known> nodes_;  // by cluster and name
};

// Reads the events of the fleet's stream that pass a filter, in order. One thread.
class FleetEventReader {
 public:
  struct Environment {
    PrintSentence note;
    std::function<absl::Time()> clock = SteadyNow;
    std::function<absl::Time()> now = absl::Now;  // the time to compare heartbeats with
    Repeats* repeats = nullptr;  // which events are left out; it outlives the reader. Null: none
  };

  // Errors as of StreamReader, and NOT_FOUND: there is no such stream. `connection` must outlive
  // it.
  static absl::StatusOr<std::unique_ptr<FleetEventReader>> Open(NatsConnection* connection,
                                                                const FleetFilter& filter,
                                                                const ReadStart& start,
                                                                Environment environment);

  struct Item {
    uint64_t stream_sequence = 0;
    absl::Time time;                 // time of storage
    std::optional<NodeEvent> event;  // nullopt: it is left out; without a position
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
