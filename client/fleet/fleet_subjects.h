#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "vmeventd/v1/vm_events.pb.h"

// The subjects of a fleet's messages. Pure.
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

// The last part of the event's subject in a fleet, and of its CloudEvents type: "monitor-lost",
// "stopped.crash".
std::string SubjectWords(const v1::Event& event);

// Prefix of the subjects of a node's events: "vmevents.v1.CLUSTER.NODE.".
inline std::string NodeSubjectPrefix(absl::string_view cluster, absl::string_view node) {
  return absl::StrCat(kSubjectPrefix, ".", EscapeToken(cluster), ".", EscapeToken(node), ".");
}

}  // namespace vmeventd::client
