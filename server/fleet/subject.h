#ifndef VMEVENTD_SERVER_FLEET_SUBJECT_H_
#define VMEVENTD_SERVER_FLEET_SUBJECT_H_

#include <cstddef>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "vmeventd/v1/vm_events.pb.h"

// The NATS subjects of events. Pure; any thread.
//
//   vmevents.v1.CLUSTER.NODE.VM.EVENT
//
// CLUSTER, NODE and VM are names, each escaped into one token. The bytes A-Z a-z 0-9 - and _ stay;
// every other byte becomes = and two hexadecimal digits in upper case ("web 1.a" is "web=201=2Ea");
// the empty name is = alone, as the VM of an event of the whole node is. These bytes are also all
// that a key of a NATS key-value bucket may consist of. A name whose token would exceed
// kMaxTokenBytes is cut and ends in =h and 16 hexadecimal digits of a hash: only such a token
// cannot be turned back into its name. A name of 255 bytes, the longest of a file, always fits.
//
// EVENT is the event's type in lower case with - for _ ("started", "monitor-lost", "gap"). Of
// STOPPED and GUEST_SHUTDOWN a token with the class follows: "stopped.crash". So
// vmevents.v1.*.*.*.stopped.crash is every crash of the fleet.

namespace vmeventd {

inline constexpr absl::string_view kSubjectPrefix = "vmevents.v1";
inline constexpr size_t kMaxTokenBytes = 765;

// The token of a name.
std::string EscapeToken(absl::string_view name);
// The name of a token; nullopt: EscapeToken never writes it, or it was cut.
std::optional<std::string> UnescapeToken(absl::string_view token);

// "started", "stopped.crash"
std::string EventToken(v1::EventType type, v1::ShutdownClass shutdown_class);

struct EventSubject {
  std::string cluster;
  std::string node;
  std::string vm;     // empty: the node as a whole
  std::string event;  // as EventToken gives it
};
std::string ToSubject(const EventSubject& subject);
// nullopt: ToSubject never writes it, or a name was cut.
std::optional<EventSubject> ParseSubject(absl::string_view text);

// The subjects of all events of a node: "vmevents.v1.CLUSTER.NODE.>".
std::string NodeSubjects(absl::string_view cluster, absl::string_view node);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_FLEET_SUBJECT_H_
