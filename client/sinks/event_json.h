#pragma once

#include "absl/status/statusor.h"
#include "client/output/node_event.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {

// Returns the event as -o json prints it of several nodes, and before that the journal_id.
// INTERNAL: it cannot be written as JSON.
absl::StatusOr<nlohmann::ordered_json> EventJson(const NodeEvent& one);

}  // namespace vmeventd::client
