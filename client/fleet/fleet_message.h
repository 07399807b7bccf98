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
// the empty name is = alone, as the VM of an event of the whole node is. These bytes are also all
// that a key of a NATS key-value bucket may consist of. A name is cut after 255 bytes, the longest
// of a file.
//
// EVENT is SubjectWords(): vmevents.v1.*.*.*.stopped.crash is every crash of the fleet.

namespace vmeventd::client {

inline constexpr absl::string_view kFleetStream = "VMEVENTS";
inline constexpr absl::string_view kSubjectPrefix = "vmevents.v1";
inline constexpr size_t kMaxTokenNameBytes = 255;

// The token of a name.
std::string EscapeToken(absl::string_view name);
// The name of a token; nullopt: EscapeToken never writes it.
std::optional<std::string> UnescapeToken(absl::string_view token);

// Key-value buckets of the fleet: a key is the escaped tokens with dots between them, and its
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

// The CloudEvents attribute "id": the sequence, or of a GAP that no journal has
// "gap-after-SEQUENCE".
std::string IdOf(const v1::Event& event);
// The CloudEvents attribute "source"; with the id it is unique forever. A node that is read
// directly has the empty cluster.
std::string SourceOf(const MessageNode& node);
// All attributes of the CloudEvent, by their names; an event of a whole node has no "subject".
std::vector<std::pair<std::string, std::string>> CloudEventOf(const v1::Event& event,
                                                              const MessageNode& node);

// A message of the fleet with its payload, and the headers that a value of a bucket has too. `node`
// has its cluster. INTERNAL: the payload cannot be written as JSON.
absl::StatusOr<NatsMessage> FleetMessage(std::string subject,
                                         const google::protobuf::Message& payload,
                                         const MessageNode& node, bool json);
// The message of an event in the fleet's stream.
absl::StatusOr<NatsMessage> FleetMessageOf(const v1::Event& event, const MessageNode& node,
                                           bool json);
// The event of the node that the message of the fleet's stream is of; nullopt: it is another
// program's, or of another journal. A GAP without a sequence counts as the event before it.
std::optional<uint64_t> SequenceIn(const NatsMessage& message, const MessageNode& node);

// Parses a payload: protobuf, or its JSON, whose fields may be later ones. INVALID_ARGUMENT: it is
// neither, or JSON cannot express its times.
absl::Status ParsePayload(absl::string_view data, google::protobuf::Message* message);

// Parses the node and the content of a message of the stream or of a bucket. A server permits a
// node its own subjects only, and the sender chooses the headers: INVALID_ARGUMENT also if
// ce-source, "/vmevents/CLUSTER/NODE/JOURNAL_ID", or ce-type are not those of the subject.
absl::StatusOr<MessageNode> ParseFleetMessage(const NatsMessage& from,
                                              google::protobuf::Message* message);

}  // namespace vmeventd::client
