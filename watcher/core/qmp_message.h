#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"
#include "watcher/core/vm_event.h"

// The messages that a QMP server sends: docs/interop/qmp-spec.txt in QEMU's source.

namespace vmeventd {

// Cuts a byte stream into lines. QMP ends its lines with \r\n; \n alone is taken as well, and empty
// lines are skipped. A line that begins with "{" and does not end with "}" begins an object that
// QEMU spreads over several lines (pretty=on): all lines up to its closing bracket count as one
// line. Holds memory only while a line is incomplete.
class LineFramer {
 public:
  // Longer lines are an error: QEMU's longest replies stay far below.
  static constexpr size_t kMaxLineBytes = 1 << 20;

  // Calls `on_line` for each line that `bytes` completes, without its line end; the view lives for
  // the call. RESOURCE_EXHAUSTED when a line exceeds kMaxLineBytes, or the status with which
  // `on_line` refused a line; the stream cannot be used after either.
  absl::Status Feed(absl::string_view bytes,
                    const std::function<absl::Status(absl::string_view)>& on_line);

  // The memory that an incomplete line takes; 0 without one.
  size_t held() const { return partial_.text.empty() ? 0 : partial_.text.capacity(); }
  // An incomplete line, as far as it has come, with the line ends that are in it.
  absl::string_view partial() const { return partial_.text; }

 private:
  struct Partial {
    std::string text;
    size_t counted = 0;  // bytes at its start whose brackets are counted: its complete lines
    int open = 0;        // brackets that are open after these
  };

  // Returns the number of brackets that are open after `line`, if it is part of an object that
  // is spread over lines; 0: the line is complete.
  int OpenAfter(absl::string_view line) const;

  Partial partial_;
};

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

// Return a member of an event's data or of a reply's value; empty or unset if it is missing or has
// another type.
std::string QmpText(const QmpObject& object, const char* name);
std::string QmpLine(const QmpObject& object, const char* name, size_t max_bytes);  // OneLine
std::optional<bool> QmpBool(const QmpObject& object, const char* name);

using QmpMessage = std::variant<QmpGreeting, QmpReturn, QmpEvent>;

// Limit of nesting; beyond it, a line is refused before anything is built from it.
inline constexpr int kMaxQmpDepth = 64;

// Limit of values and members in one line; beyond it, the line is refused as well. QEMU's largest
// event has some dozens, and the time to take them in grows with their square.
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

inline constexpr size_t kMaxPanicReasonBytes = 64;
inline constexpr size_t kMaxPanicMessageBytes = 256;

// The data of GUEST_PANICKED or GUEST_CRASHLOADED. Members of another type than QEMU's are left
// out; texts are truncated and on one line.
v1::GuestPanic ParseGuestPanic(const QmpObject& data);

// Describes a panic for people: "Hyper-V 0x1e 0xffffffffc0000005 0x0 0x0 0x0"; empty: only its
// action is known.
std::string DescribePanic(const v1::GuestPanic& panic);

}  // namespace vmeventd
