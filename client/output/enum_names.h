#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/generated_enum_reflection.h"
#include "vmeventd/v1/vm_events.pb.h"

// The contract's enum names without their prefixes: "STOPPED" for EVENT_TYPE_STOPPED.

namespace vmeventd::client {

// The value's name; its number, if this client does not know it.
std::string EnumName(const google::protobuf::EnumDescriptor& descriptor, int number);
template <typename Enum>
std::string ShortName(Enum value) {
  return EnumName(*google::protobuf::GetEnumDescriptor<Enum>(), value);
}

// The type's name in a table: at most 10 columns, as "POWERDOWN" for POWERDOWN_REQUESTED.
std::string TableName(v1::EventType type);

// All names but UNSPECIFIED.
std::vector<std::string> EnumNames(const google::protobuf::EnumDescriptor& descriptor);

// Takes the short or the full name, in any case, with "-" or "_". INVALID_ARGUMENT lists the valid
// names.
absl::StatusOr<int> ParseEnumName(const google::protobuf::EnumDescriptor& descriptor,
                                  absl::string_view name);

// The class for a table: "USER?" where a caveat says why it may not be so.
std::string ClassWord(const v1::ShutdownDetail& shutdown);

// "MONITOR_LOST" as "monitor-lost", as the fleet's subjects have it.
std::string SubjectWord(absl::string_view name);
// The end of the event's subject in a fleet, and of its CloudEvents type: "monitor-lost",
// "stopped.crash".
std::string SubjectWords(const v1::Event& event);

// "guest poweroff" for GUEST_POWEROFF.
std::string CauseWords(v1::ShutdownCause cause);

// "SIGKILL"; "signal 99" of one without a name.
std::string SignalName(int signal);

// "app=web,tier=db", by key; "" without labels. A comma or a backslash in a value has a backslash
// before it, as in a selector.
std::string LabelsText(const v1::VmRef& vm);

}  // namespace vmeventd::client
