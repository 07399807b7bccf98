#pragma once

#include <string>

#include "absl/strings/str_replace.h"
#include "nlohmann/json.hpp"

// Lines of QMP as QEMU sends them.

namespace vmeventd {

// The line of a QMP event.
inline std::string EventLine(const std::string& name, const std::string& data = "{}") {
  return "{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": 5}, \"event\": \"" + name +
         "\", \"data\": " + data + "}\r\n";
}

// The lines by which the guest, and a manager, end QEMU.
inline const std::string kGuestShutdownLine =
    EventLine("SHUTDOWN", "{\"guest\": true, \"reason\": \"guest-shutdown\"}");
inline const std::string kQuitLine =
    EventLine("SHUTDOWN", "{\"guest\": false, \"reason\": \"host-qmp-quit\"}");

// The message in the form that QEMU sends with pretty=on.
inline std::string Spread(const std::string& line) {
  const std::string text = nlohmann::ordered_json::parse(line).dump(4);
  return absl::StrReplaceAll(text, {{"\n", "\r\n"}}) + "\r\n";
}

}  // namespace vmeventd
