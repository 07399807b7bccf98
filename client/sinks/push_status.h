#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/sinks/cursor_file.h"
#include "client/sinks/push_log.h"

// The texts of `push --status`, and the metrics of a push.

namespace vmeventd::client {

// Everything that `--status` shows.
struct PushStatus {
  PushState state;
  std::string name;
  bool running = false;
  CursorFile::Positions positions;
  std::string set_aside_file;
  size_t set_aside_now = 0;  // number of events in that file, and of those to be sent again
};

// The status as one JSON object, without a newline; and as text for people.
std::string StatusJson(const PushStatus& status, absl::Time now);
std::string StatusText(const PushStatus& status, absl::Time now, absl::TimeZone zone);

// Metrics for the node exporter's textfile collector. `name` distinguishes the pushes of a host.
std::string MetricsOf(const PushState& state, absl::string_view name);

}  // namespace vmeventd::client
