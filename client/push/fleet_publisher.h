#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/consume/delivery.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream_api.h"
#include "client/nats/stream_writer.h"
#include "client/output/node_event.h"
#include "client/push/pusher.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::client {

// The message of an event in the fleet's stream: a CloudEvent in binary mode, docs/many-nodes.md.
// `node` has its cluster. INTERNAL: the event cannot be written as JSON.
absl::StatusOr<StreamMessage> FleetMessageOf(const v1::Event& event, const MessageNode& node,
                                             bool json);

// The event of the node that the message of the fleet's stream is of; nullopt: it is another
// program's, or of another journal. A GAP without a sequence counts as the event before it.
std::optional<uint64_t> SequenceIn(const StoredMessage& message, const MessageNode& node);

// Publishes the events of one node into the fleet's stream over one connection, at least once and
// in order; and, behind them, the last state of each VM and the node's heartbeat into the buckets,
// which hold no event up. After an error another publisher begins behind the last event that was
// acknowledged. One thread.
class FleetPublisher : public EventConsumer {
 public:
  // Interval of heartbeats: a node is silent after three.
  static constexpr absl::Duration kHeartbeat = absl::Seconds(30);
  // Interval in which all states are written again: what the bucket lost comes back.
  static constexpr absl::Duration kRewrite = absl::Minutes(10);
  // Shortest interval in which states are asked for and written.
  static constexpr absl::Duration kStatesInterval = absl::Milliseconds(100);
  // Pause before a bucket that failed is tried again.
  static constexpr absl::Duration kBucketRetry = absl::Seconds(30);

  struct Options {
    NatsConnection* connection = nullptr;                 // outlives the publisher
    v1::VmEventService::StubInterface* daemon = nullptr;  // likewise; asked for its VMs
    MessageNode node;                                     // with its cluster and its journal
    bool json = false;                                    // payloads
    uint64_t published = 0;                               // the stream has everything up to here
    PushLog* log = nullptr;                               // outlives the publisher
    std::stop_token stop;
  };
  static absl::StatusOr<std::unique_ptr<FleetPublisher>> Open(Options options);

  // OK: the stream has them. What it refuses for good is a GAP.
  absl::Status Consume(Formatter::Events events) override;
  // Publishes that these events of the node are not in the stream.
  absl::Status PublishGap(const MessageNode& node, uint64_t first, uint64_t last,
                          const std::string& why);
  // Writes what is due into the buckets. False: the connection is lost.
  bool Tick();
  // The last heartbeat, of a node that stops publishing. Does not wait for an acknowledgement.
  void Leave();

 private:
  FleetPublisher(Options options, std::unique_ptr<StreamWriter> writer)
      : options_(std::move(options)), writer_(std::move(writer)) {}

  absl::Status WriteHeartbeat();
  absl::Status WriteStates();
  // Reads the VMs of these names, or all: of several runs with one name the one that runs, or
  // else the one with the newest event.
  absl::StatusOr<std::vector<v1::Vm>> ReadVms(const std::vector<std::string>& names) const;
  absl::Status WriteBucket(absl::string_view bucket, const std::vector<StreamMessage>& messages);
  // Reports the failure once, until the bucket takes something again.
  void NoteBucket(const char* what, const absl::Status& status, std::string* noted);
  absl::StatusOr<StreamMessage> HeartbeatMessage(bool stopped);

  Options options_;
  const std::unique_ptr<StreamWriter> writer_;
  std::set<std::string> changed_;                   // names of VMs whose states are to be written
  bool behind_ = true;                              // the last heartbeat says that events wait
  absl::Time heartbeat_at_ = absl::InfinitePast();  // when it is due; steady, as the next two
  absl::Time rewrite_at_ = absl::InfinitePast();
  absl::Time states_at_ = absl::InfinitePast();  // the bucket of VMs is not tried before
  std::string noted_heartbeat_;
  std::string noted_states_;
};

}  // namespace vmeventd::client
