#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/output/node_event.h"

// The lines of the file of events that were set aside.

namespace vmeventd::client {

// Write and parse the line of an event that was set aside. The parsed event has no position, so it
// moves no cursor. INVALID_ARGUMENT: it is not such a line.
std::string SetAsideLine(const NodeEvent& one, absl::string_view target, absl::string_view reason,
                         absl::Time now);
absl::StatusOr<NodeEvent> ParseSetAside(absl::string_view line);

}  // namespace vmeventd::client
