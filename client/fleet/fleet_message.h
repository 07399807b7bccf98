#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/nats/connection.h"
#include "client/output/node_event.h"
#include "google/protobuf/message.h"

// Parses the messages of a fleet: CloudEvents in binary mode, docs/many-nodes.md. Pure.

namespace vmeventd::client {

// The node that sent a message, by its ce-source, "/vmevents/CLUSTER/NODE/JOURNAL_ID". A name that
// was cut stays as it is. INVALID_ARGUMENT: it is none.
absl::StatusOr<MessageNode> ParseOrigin(absl::string_view source);

// Parses a payload: protobuf, or its JSON, whose fields may be later ones. INVALID_ARGUMENT: it is
// neither, or has times that JSON cannot say.
absl::Status ParsePayload(absl::string_view data, google::protobuf::Message* message);

// Parses the node and the content of a message of the stream or of a bucket. A server permits a
// node its own subjects only, and the sender chooses the headers: INVALID_ARGUMENT also if
// ce-source or ce-type are not those of the subject.
absl::StatusOr<MessageNode> ParseFleetMessage(const NatsMessage& from,
                                              google::protobuf::Message* message);

}  // namespace vmeventd::client
