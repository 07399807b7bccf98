#ifndef VMEVENTD_CLIENT_OUTPUT_ENUM_NAMES_H_
#define VMEVENTD_CLIENT_OUTPUT_ENUM_NAMES_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "vmeventd/v1/vm_events.pb.h"

// The contract's enum names without their prefixes: "STOPPED" for EVENT_TYPE_STOPPED.

namespace vmeventd::client {

// Take the short or the full name, in any case, with "-" or "_". INVALID_ARGUMENT lists the valid
// names, which do not include UNSPECIFIED.
absl::StatusOr<v1::EventType> ParseEventType(absl::string_view name);
absl::StatusOr<v1::ShutdownClass> ParseShutdownClass(absl::string_view name);
absl::StatusOr<v1::ShutdownCause> ParseShutdownCause(absl::string_view name);
absl::StatusOr<v1::VmState> ParseVmState(absl::string_view name);

// A value that this client does not know is shown as its number.
std::string ShortName(v1::EventType type);
std::string ShortName(v1::ShutdownClass shutdown_class);
// The class for a table: "USER?" where a caveat says why it may not be so.
std::string ClassWord(const v1::ShutdownDetail& shutdown);
std::string ShortName(v1::ShutdownCause cause);
std::string ShortName(v1::VmState state);

// "MONITOR_LOST" as "monitor-lost", as the fleet's subjects have it.
std::string SubjectWord(absl::string_view name);
// The end of the event's subject in a fleet, and of its CloudEvents type: "monitor-lost",
// "stopped.crash".
std::string SubjectWords(const v1::Event& event);

// "app=web,tier=db", by key; "" without labels. A comma or a backslash in a value has a backslash
// before it, as in a selector.
std::string LabelsText(const v1::VmRef& vm);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OUTPUT_ENUM_NAMES_H_
