#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "client/sinks/push_log.h"

// The metrics of a push.

namespace vmeventd::client {

// Metrics for the node exporter's textfile collector. `name` distinguishes the pushes of a host.
std::string MetricsOf(const PushState& state, absl::string_view name);

}  // namespace vmeventd::client
