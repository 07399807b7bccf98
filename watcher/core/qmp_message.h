#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

// The messages that a QMP server sends: docs/interop/qmp-spec.txt in QEMU's source.

namespace vmeventd {

// JSON whose members stay in QEMU's order.
using QmpObject = nlohmann::ordered_json;

struct QmpGreeting {
  std::string qemu_version;  // "7.2.22"; empty if the greeting has none
};

// clang-tidy does not see that moving JSON allocates nothing.
// NOLINTNEXTLINE(bugprone-exception-escape)
struct QmpReturn {
  QmpObject value;                 // null: QEMU refuses the command
  bool command_not_found = false;  // because it has none of that name
};

// NOLINTNEXTLINE(bugprone-exception-escape): as above
struct QmpEvent {
  std::string name;
  QmpObject data;                  // an object; null if the event has none
  std::optional<absl::Time> time;  // unset if QEMU did not know ({-1, -1})
  std::string detail_json{};       // DetailJson of `data`; empty if the event has none
};

// Maximum size of a text from QEMU. Of a longer one, only the beginning is used.
inline constexpr size_t kMaxQmpTextBytes = 8 << 10;

// Return a member of an event's data or of a reply's value; null, empty or unset if it is missing
// or has another type.
const QmpObject* QmpMember(const QmpObject& object, const char* name);  // of any type
std::optional<uint64_t> QmpNumber(const QmpObject& object, const char* name);
std::string QmpText(const QmpObject& object, const char* name);
std::string QmpLine(const QmpObject& object, const char* name, size_t max_bytes);  // OneLine
std::optional<bool> QmpBool(const QmpObject& object, const char* name);

using QmpMessage = std::variant<QmpGreeting, QmpReturn, QmpEvent>;

// Limit of nesting; beyond it, a line is refused before anything is built from it.
inline constexpr int kMaxQmpDepth = 64;

// Limit of values and members in one line; beyond it, the line is refused as well. QEMU's largest
// event has some dozens, and the time to parse them grows with the square of their number.
inline constexpr int kMaxQmpValues = 4096;

// Parses one line. Bytes that are not UTF-8 are read as the text "\xNN". INVALID_ARGUMENT names
// what is wrong: not JSON, too deep, too many values, or not a QMP message.
absl::StatusOr<QmpMessage> ParseQmpMessage(absl::string_view line);

// Limit of an event's data that is passed on.
inline constexpr size_t kMaxDetailBytes = 4096;

// The text of an event's data: Event.detail_json in vm_events.proto. Where it would have more than
// `max_bytes`, members that do not fit are dropped, and "_truncated":true stands before the
// others.
std::string DetailJson(const QmpObject& data, size_t max_bytes);

}  // namespace vmeventd
