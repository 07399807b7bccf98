#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/nats/connection.h"
#include "client/output/node_event.h"
#include "google/protobuf/message.h"
#include "vmeventd/v1/vm_events.pb.h"

// The messages of a fleet, which are CloudEvents in binary mode (docs/many-nodes.md), and their
// subjects. Pure.
//
//   vmevents.v1.CLUSTER.NODE.VM.EVENT
//
// CLUSTER, NODE and VM are names, each escaped into one token. The bytes A-Z a-z 0-9 - and _ stay;
// every other byte becomes = and two hexadecimal digits in upper case ("web 1.a" is "web=201=2Ea");
// the empty name is = alone, as the VM of an event of the whole node is. A key of a NATS key-value
// bucket may only contain these bytes, too. A name is cut after 255 bytes, the maximum for a file's
// name.
//
// EVENT is SubjectWords(): vmevents.v1.*.*.*.stopped.crash is every crash of the fleet.

namespace vmeventd::client {

inline constexpr absl::string_view kFleetStream = "VMEVENTS";
inline constexpr absl::string_view kSubjectPrefix = "vmevents.v1";
inline constexpr size_t kMaxTokenNameBytes = 255;

// Returns the token for a name.
std::string EscapeToken(absl::string_view name);
// Returns the name for a token; nullopt: EscapeToken() never returns this token.
std::optional<std::string> UnescapeToken(absl::string_view token);

// Key-value buckets of the fleet. A key consists of the escaped tokens, separated by dots. Its
// values have the subject "$KV.BUCKET.KEY" in the stream "KV_BUCKET".
inline constexpr absl::string_view kVmsBucket = "VMEVENTS_VMS";      // CLUSTER.NODE.VM: v1.Vm
inline constexpr absl::string_view kNodesBucket = "VMEVENTS_NODES";  // CLUSTER.NODE: NodeHeartbeat
inline std::string NodeBucketKey(absl::string_view cluster, absl::string_view node) {
  return absl::StrCat(EscapeToken(cluster), ".", EscapeToken(node));
}
inline std::string VmBucketKey(absl::string_view cluster, absl::string_view node,
                               absl::string_view vm) {
  return absl::StrCat(NodeBucketKey(cluster, node), ".", EscapeToken(vm));
}
inline std::string KeySubject(absl::string_view bucket, absl::string_view key) {
  return absl::StrCat("$KV.", bucket, ".", key);
}
inline std::string BucketStream(absl::string_view bucket) { return absl::StrCat("KV_", bucket); }

// Prefix of the subjects of a node's events: "vmevents.v1.CLUSTER.NODE.".
inline std::string NodeSubjectPrefix(absl::string_view cluster, absl::string_view node) {
  return absl::StrCat(kSubjectPrefix, ".", NodeBucketKey(cluster, node), ".");
}

// The CloudEvents attribute "id": the sequence, or "gap-after-SEQUENCE" for a GAP that is in no
// journal.
std::string IdOf(const v1::Event& event);
// The CloudEvents attribute "source"; together with the id it is unique forever. The cluster of a
// node that is read directly is empty.
std::string SourceOf(const MessageNode& node);
// All attributes of the CloudEvent, as name and value; an event of a whole node has no "subject".
std::vector<std::pair<std::string, std::string>> CloudEventOf(const v1::Event& event,
                                                              const MessageNode& node);

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
