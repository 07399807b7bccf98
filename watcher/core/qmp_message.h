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

// Keeps members in QEMU's order, so that an event's data is passed on as it came.
using QmpObject = nlohmann::ordered_json;

struct QmpGreeting {
  std::string qemu_version;  // "7.2.22"; empty if the greeting has none
};

struct QmpReturn {
  QmpObject value;
};

struct QmpError {
  std::string error_class;
  std::string description;
};

// clang-tidy does not see that moving JSON allocates nothing.
// NOLINTNEXTLINE(bugprone-exception-escape)
struct QmpEvent {
  std::string name;
  QmpObject data;                  // an object; null if the event has none
  std::optional<absl::Time> time;  // unset if QEMU could not tell ({-1, -1})
};

using QmpMessage = std::variant<QmpGreeting, QmpReturn, QmpError, QmpEvent>;

// Deeper nesting is refused, before anything is built from it.
inline constexpr int kMaxQmpDepth = 64;

// More values and members than that in one line are refused likewise: QEMU's largest event has
// some dozens, and the time to take them in grows with their square.
inline constexpr int kMaxQmpValues = 4096;

// Parses one line. Bytes that are not UTF-8 are read as the text "\xNN". INVALID_ARGUMENT says
// what the line has wrong: not JSON, too deep, too many values, or not a QMP message.
absl::StatusOr<QmpMessage> ParseQmpMessage(absl::string_view line);

// The event's data as one line of JSON of at most `max_bytes`; "" if it has none. Members that do
// not fit are left out, and "_truncated": true is added.
std::string DetailJson(const QmpEvent& event, size_t max_bytes);

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_CORE_QMP_MESSAGE_H_
