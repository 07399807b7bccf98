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

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/commands/commands.h"
#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/consume/source.h"
#include "client/fleet/fleet_message.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"
#include "client/output/formatter.h"
#include "client/output/node_event.h"
#include "client/output/output.h"
#include "vmeventd/v1/vm_events.pb.h"

// A fleet on NATS servers: its stream of events, and the buckets with the last states.

namespace vmeventd::client {

// The NATS servers of a fleet, any of which is asked.
struct FleetAddress {
  std::vector<std::string> servers;  // nats://HOST:PORT or tls://HOST:PORT
  std::string credentials;           // a file; empty: none
  std::string domain;                // JetStream's domain; empty: the servers' own
  std::optional<TlsOptions> tls;
};

// The address as a user writes it, safe for a terminal.
std::string ToText(const FleetAddress& address);

using FleetConnector = std::function<absl::StatusOr<std::unique_ptr<NatsConnection>>()>;
// Returns a function that makes a connection with each call; errors as of ConnectNats. Any thread.
// `name` is the client's; `inbox_prefix` as of NatsOptions.
FleetConnector ConnectorTo(const FleetAddress& address, const std::string& name = "vmevents",
                           const std::string& inbox_prefix = "_INBOX.vmevents");

// Explains a failed request to the fleet; `servers` as ToText() has them. Pure.
Failure ExplainFleetFailure(const std::string& servers, const absl::Status& status);

// `fleet create`.
struct FleetCreateCommand {
  int replicas = 0;  // 0: as they are, and 1 of what is made
};

// Makes those of the fleet's stream and its two buckets that are missing; of those that are there,
// turns off what would let a node delete the keys of others, and sets the replicas. Returns a line
// on each, for people. UNAVAILABLE: a server refuses it, or does not answer.
absl::StatusOr<std::string> CreateFleet(NatsConnection* connection,
                                        const FleetCreateCommand& command);

// Longest time by which an event was stored before its own time: the clocks of node and server
// differ.
inline constexpr absl::Duration kMaxSkew = absl::Minutes(5);

// Counts the messages that are not what vmeventd writes there, and reports the first, the tenth,
// the hundredth and so on. One thread.
class IgnoredMessages {
 public:
  // `where` names the stream or bucket.
  IgnoredMessages(PrintSentence note, std::string where)
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
    Repeats* repeats = nullptr;  // drops those events; it outlives the reader. Null: drops none
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
    std::optional<NodeEvent> event;  // nullopt: it is ignored; without a position
  };
  // Reads the next message; nullopt: none came within `timeout`. Errors as of StreamReader.
  absl::StatusOr<std::optional<Item>> Next(absl::Duration timeout);
  uint64_t pending() const { return reader_->pending(); }
  absl::StatusOr<bool> AskWhetherAllIsRead() { return reader_->AskWhetherAllIsRead(); }

 private:
  FleetEventReader(std::unique_ptr<StreamReader> reader, const FleetFilter& filter,
                   Environment environment);

  const std::unique_ptr<StreamReader> reader_;
  const FleetMatcher matcher_;
  const Environment env_;
  IgnoredMessages ignored_;
};

// The VMs that the filter lets through, by name and then by node. NOT_FOUND: there is no such
// bucket. VMs that ran at the last heartbeat of a node that is silent are stale.
absl::StatusOr<NodeVms> ReadFleetVms(NatsConnection* connection, const FleetFilter& filter,
                                     const FleetEventReader::Environment& environment);

// Maximum number of events of `events --newest-first` without a limit.
inline constexpr uint64_t kMaxEvents = 100'000;

// The lists of a fleet; events are in the order of the stream. One thread; each call makes a
// connection.
class FleetLists : public ListSource {
 public:
  struct Environment {
    FleetConnector connect;
    std::string servers;             // names the servers in messages
    std::vector<std::string> nodes;  // globs, as of FleetFilter
    PrintSentence note;
    std::function<absl::Time()> now = absl::Now;  // the time to compare heartbeats with
  };
  explicit FleetLists(Environment environment) : env_(std::move(environment)) {}

  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override;
  std::optional<Failure> ReadVms(const VmsCommand& command, NodeVms* vms) override;
  bool knows_runs() const override { return false; }
  // The latest heartbeat of each node, by cluster and node.
  std::optional<Failure> ReadNodes(Formatter::Heartbeats* nodes) const;
  // Sets `start` to where a watch begins so that it first delivers the newest `last` events of the
  // filter.
  std::optional<Failure> FindStart(const FleetFilter& filter, uint64_t last,
                                   WatchStart* start) const;

 private:
  const Environment env_;
};

}  // namespace vmeventd::client
