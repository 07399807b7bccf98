#include "watcher/libvirt/forwarded_event.h"

#include <utility>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace vmeventd {

std::optional<QmpEvent> ForwardedEvent(const std::string& name, int64_t seconds,
                                       uint32_t microseconds, const std::string& data) {
  // The message as QEMU sent it, so that it is read, bounded and cut like a monitor's.
  const std::string quoted =
      nlohmann::json(name).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string line = absl::StrCat("{\"timestamp\":{\"seconds\":", seconds,
                                  ",\"microseconds\":", static_cast<int32_t>(microseconds),
                                  "},\"event\":", quoted);
  if (!data.empty()) absl::StrAppend(&line, ",\"data\":", data);
  absl::StatusOr<QmpMessage> message = ParseQmpMessage(line + "}");
  if (!message.ok() || !std::holds_alternative<QmpEvent>(*message)) return std::nullopt;
  return std::get<QmpEvent>(*std::move(message));
}

}  // namespace vmeventd
