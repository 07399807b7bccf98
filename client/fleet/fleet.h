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
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/fleet/fleet_message.h"
#include "client/nats/nats.h"
#include "client/output/formatter.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "client/output/output.h"
#include "client/sources/list_source.h"
#include "client/sources/reconnecting_source.h"
#include "client/sources/source.h"
#include "vmeventd/v1/vm_events.pb.h"

// A fleet on NATS servers: its stream of events, and the buckets with the last states.

namespace vmeventd::client {

// The servers of a fleet as a user writes them, safe for a terminal.
std::string ToText(const NatsOptions& fleet);

// Explains a failed request to the fleet; `servers` as ToText() has them. Pure.
Failure ExplainFleetFailure(const std::string& servers, const absl::Status& status);

// `fleet create`.
struct FleetCreateCommand {
  int replicas = 0;  // 0: as they are, and 1 of what is made
};

// Maximum age of an event, and of a bucket's value since its last write.
inline constexpr absl::Duration kStreamMaxAge = absl::Hours(24 * 30);

// The request that creates the stream of events, or that of a key-value bucket, which has the last
// value of each key, with the settings that are safe.
std::string CreateRequest(const std::string& stream);

// Makes those of the fleet's stream and its two buckets that are missing; of those that are there,
// turns off what would let a node delete the keys of others, and sets the replicas. Returns a line
// on each, for people. UNAVAILABLE: a server refuses it, or does not answer.
absl::StatusOr<std::string> CreateFleet(NatsConnection* connection,
                                        const FleetCreateCommand& command);

// Longest time by which an event was stored before its own time: the clocks of node and server
// differ.
inline constexpr absl::Duration kMaxSkew = absl::Minutes(5);

// The dependencies of those that read a fleet.
struct FleetEnvironment {
  std::function<absl::StatusOr<std::unique_ptr<NatsConnection>>()> connect;
  std::string servers;             // names the servers in messages
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
  std::optional<NodeEvent> Parse(const StoredMessage& stored, const FleetFilter& filter);

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

// Maximum number of events of `events --newest-first` without a limit.
inline constexpr uint64_t kMaxEvents = 100'000;

// The lists of a fleet; events are in the order of the stream. One thread; each call makes a
// connection.
class FleetLists : public ListSource {
 public:
  explicit FleetLists(FleetEnvironment environment) : env_(std::move(environment)) {}

  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override;
  std::optional<Failure> ReadVms(const v1::EventFilter& filter, bool stopped_too,
                                 NodeVms* vms) override;
  // Refuses: a fleet's stream counts nothing.
  std::optional<Failure> CountEvents(const StatsCommand& command, absl::TimeZone zone,
                                     NodeCounts* counts) override;
  // By the heartbeats: a node that is silent is one that is away.
  std::optional<Failure> ReadReports(const ReportQuestion& question, NodeReports* reports) override;
  bool knows_runs() const override { return false; }
  // The latest heartbeat of each node, by cluster and node.
  std::optional<Failure> ReadNodes(Formatter::Heartbeats* nodes) const;

 private:
  const FleetEnvironment env_;
};

// The key of a fleet's position in a cursor file.
inline constexpr char kFleetCursorKey[] = "fleet";

// Interval at which a watch compares its position with the stream.
inline constexpr absl::Duration kFleetProgressInterval = absl::Seconds(10);

// Makes the source of the events of a fleet's stream as they come, each once and in the order of
// its node, over as many connections as needed. A position is a sequence of the stream and the time
// at which its message was stored, by which it is recognised: the stream may be deleted and
// created, restored from a copy, or rolled back, and nodes then publish again what it lacks. The
// watch then continues by that time, and notes that once. A FromSequence without a journal_id is of
// the present stream. What the environments point to outlives the source; both have the same
// `note`.
std::unique_ptr<Source> WatchFleet(WatchCommand command, FleetEnvironment fleet,
                                   ReconnectingSource::Environment environment);

}  // namespace vmeventd::client
