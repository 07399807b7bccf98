#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/output/node_event.h"

namespace vmeventd::client {

// The event as JSON, with the additional members "detail" (the text in the table) and "pause_text".
absl::StatusOr<std::string> ToJsonWithTexts(const NodeEvent& one, absl::TimeZone zone);

}  // namespace vmeventd::client
