#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/nats/message.h"
#include "client/output/message_node.h"
#include "google/protobuf/message.h"
#include "vmeventd/v1/vm_events.pb.h"

// The messages of a fleet, which are CloudEvents in binary mode (docs/many-nodes.md). Pure.

namespace vmeventd::client {

// A message of the fleet with this payload, and with the headers that a bucket's value also has.
// `node` must have its cluster. INTERNAL: the payload cannot be written as JSON.
absl::StatusOr<NatsMessage> FleetMessage(std::string subject,
                                         const google::protobuf::Message& payload,
                                         const MessageNode& node, bool json);
// The message of an event in the fleet's stream.
absl::StatusOr<NatsMessage> FleetMessageOf(const v1::Event& event, const MessageNode& node,
                                           bool json);
// The sequence of the event in a message of the fleet's stream. A GAP without a sequence has the
// sequence of the event before it. nullopt: the message is from another program, node or journal.
std::optional<uint64_t> SequenceIn(const NatsMessage& message, const MessageNode& node);

// Parses a payload: protobuf, or its JSON, which may have fields of later versions.
// INVALID_ARGUMENT: it is neither, or JSON cannot express its times.
absl::Status ParsePayload(absl::string_view data, google::protobuf::Message* message);

// Parses the node and the content of a message of the stream or of a bucket. A server lets a node
// publish only to its own subjects, but the sender chooses the headers. So it is also
// INVALID_ARGUMENT if ce-source, "/vmevents/CLUSTER/NODE/JOURNAL_ID", or ce-type do not match the
// subject.
absl::StatusOr<MessageNode> ParseFleetMessage(const NatsMessage& from,
                                              google::protobuf::Message* message);

}  // namespace vmeventd::client
