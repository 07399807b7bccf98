#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "server/fleet/cloud_event.h"

namespace vmeventd {

// The value of a message's header; empty: it has none.
inline std::string HeaderOf(const FleetMessage& message, absl::string_view name) {
  for (const auto& [header, value] : message.headers) {
    if (header == name) return value;
  }
  return "";
}

}  // namespace vmeventd
