#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

// The NATS subjects of events. Pure; any thread.
//
//   vmevents.v1.CLUSTER.NODE.VM.EVENT
//
// CLUSTER, NODE and VM are names, each escaped into one token. The bytes A-Z a-z 0-9 - and _ stay;
// every other byte becomes = and two hexadecimal digits in upper case ("web 1.a" is "web=201=2Ea");
// the empty name is = alone, as the VM of an event of the whole node is. These bytes are also all
// that a key of a NATS key-value bucket may consist of. A name is cut after 255 bytes, the longest
// of a file.
//
// EVENT is the event's type in lower case with - for _ ("started", "monitor-lost", "gap"). Of
// STOPPED and GUEST_SHUTDOWN a token with the class follows: "stopped.crash". So
// vmevents.v1.*.*.*.stopped.crash is every crash of the fleet.

namespace vmeventd {

inline constexpr absl::string_view kFleetStream = "VMEVENTS";
inline constexpr absl::string_view kSubjectPrefix = "vmevents.v1";
inline constexpr size_t kMaxNameBytes = 255;

// The token of a name.
std::string EscapeToken(absl::string_view name);
// The name of a token; nullopt: EscapeToken never writes it.
std::optional<std::string> UnescapeToken(absl::string_view token);

// Subject of an event; `node_prefix` is its node's NodeSubjectPrefix.
std::string ToSubject(absl::string_view node_prefix, absl::string_view vm, absl::string_view event);

// Prefix of the subjects of a node's events: "vmevents.v1.CLUSTER.NODE.".
std::string NodeSubjectPrefix(absl::string_view cluster, absl::string_view node);
// The subjects of all events of a node: "vmevents.v1.CLUSTER.NODE.>".
std::string NodeSubjects(absl::string_view cluster, absl::string_view node);

// Key-value buckets of the fleet: a key is the escaped tokens with dots between them.
inline constexpr absl::string_view kVmsBucket = "VMEVENTS_VMS";      // CLUSTER.NODE.VM: v1.Vm
inline constexpr absl::string_view kNodesBucket = "VMEVENTS_NODES";  // CLUSTER.NODE: NodeHeartbeat
std::string NodeBucketKey(absl::string_view cluster, absl::string_view node);
std::string VmBucketKey(absl::string_view cluster, absl::string_view node, absl::string_view vm);
// Subject and stream of a key's values: "$KV.BUCKET.KEY" in "KV_BUCKET".
std::string KeySubject(absl::string_view bucket, absl::string_view key);
std::string BucketStream(absl::string_view bucket);

}  // namespace vmeventd
