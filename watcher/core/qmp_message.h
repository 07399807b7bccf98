#ifndef VMEVENTD_WATCHER_CORE_QMP_MESSAGE_H_
#define VMEVENTD_WATCHER_CORE_QMP_MESSAGE_H_

#include <optional>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

// The messages that a QMP server sends: docs/interop/qmp-spec.txt in QEMU's source.

namespace vmeventd {

// Keeps members in QEMU's order.
using QmpObject = nlohmann::ordered_json;

struct QmpGreeting {
  std::string qemu_version;  // "7.2.22"; empty if the greeting has none
};

// clang-tidy does not see that moving JSON allocates nothing.
// NOLINTNEXTLINE(bugprone-exception-escape)
struct QmpReturn {
  QmpObject value;
};

struct QmpError {
  std::string error_class;
  std::string description;
};

// NOLINTNEXTLINE(bugprone-exception-escape): as above
struct QmpEvent {
  std::string name;
  QmpObject data;                  // an object; null if the event has none
  std::optional<absl::Time> time;  // unset if QEMU did not know ({-1, -1})
  std::string detail_json{};       // DetailJson of `data`; empty if the event has none
};

// Members of an event's data or a reply's value; empty or unset for one that is not there or of
// another type.
std::string QmpText(const QmpObject& object, const char* name);
std::optional<bool> QmpBool(const QmpObject& object, const char* name);

using QmpMessage = std::variant<QmpGreeting, QmpReturn, QmpError, QmpEvent>;

// Deeper nesting is refused, before anything is built from it.
inline constexpr int kMaxQmpDepth = 64;

// More values and members than that in one line are refused likewise: QEMU's largest event has
// some dozens, and the time to take them in grows with their square.
inline constexpr int kMaxQmpValues = 4096;

// Parses one line. Of a line of more than 64 KiB strings of more than 8 KiB are cut, and of 64
// bytes once they are more than 256 KiB together. Bytes that are not UTF-8 are read as the text
// "\xNN". INVALID_ARGUMENT says what the line has wrong: not JSON, too deep, too many values, or
// not a QMP message.
absl::StatusOr<QmpMessage> ParseQmpMessage(absl::string_view line);

// How much of an event's data is passed on.
inline constexpr size_t kMaxDetailBytes = 4096;

// `data`, a well-formed JSON object, without the white space between its tokens, which stay as they
// are: Event.detail_json in vm_events.proto. Of one that has more than `max_bytes` then, members
// that do not fit are left out, and "_truncated":true stands before the others.
std::string DetailJson(absl::string_view data, size_t max_bytes);

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_CORE_QMP_MESSAGE_H_
