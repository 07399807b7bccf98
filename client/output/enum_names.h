#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/generated_enum_reflection.h"
#include "vmeventd/v1/vm_events.pb.h"

// Names of enum values. They have no prefix: "STOPPED" for EVENT_TYPE_STOPPED.

namespace vmeventd::client {

// The value's name; if this client does not know the value, its number.
std::string EnumName(const google::protobuf::EnumDescriptor& descriptor, int number);
template <typename Enum>
std::string ShortName(Enum value) {
  return EnumName(*google::protobuf::GetEnumDescriptor<Enum>(), value);
}

// The type's name in a table: at most 10 columns, such as "POWERDOWN" for POWERDOWN_REQUESTED.
std::string TableName(v1::EventType type);

// All names except UNSPECIFIED.
std::vector<std::string> EnumNames(const google::protobuf::EnumDescriptor& descriptor);

// Parses the short or the full name, or a type's name in a table, in any case, with "-" or "_".
// None: it is no name of a value, or that of UNSPECIFIED.
std::optional<int> ParseEnumName(const google::protobuf::EnumDescriptor& descriptor,
                                 absl::string_view name);

// Converts "MONITOR_LOST" to "monitor-lost", the form in the fleet's subjects.
std::string SubjectWord(absl::string_view name);

}  // namespace vmeventd::client
