#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// State of a push, as its state file, its metrics and `--status` have it. Pure.

namespace vmeventd::client {

struct PushState {
  std::string target;  // PushTarget::shown
  std::string stream;  // creation time of the fleet's stream that gets the events; empty: none
  std::string format;
  // Totals of all times.
  uint64_t requests = 0;   // requests that were answered 2xx
  uint64_t delivered = 0;  // events in them
  uint64_t set_aside = 0;  // events
  uint64_t failures = 0;   // requests that were not delivered
  uint64_t gaps = 0;       // GAPs among the events
  // InfinitePast: never.
  absl::Time last_success = absl::InfinitePast();
  absl::Time last_error = absl::InfinitePast();
  std::string error;                                 // the last
  absl::Time failing_since = absl::InfinitePast();   // unset by a success
  absl::Time observed_until = absl::InfinitePast();  // the newest event that is done with
  absl::Time waiting_since = absl::InfinitePast();   // observe time of the oldest that waits
  std::string ended;                                 // why it ended by itself; empty: it did not

  bool operator==(const PushState&) const = default;
};

// The state file's content.
std::string ToJson(const PushState& state);
// INVALID_ARGUMENT: it is none, or of a later version.
absl::StatusOr<PushState> ParsePushState(absl::string_view json);

// Metrics for the node exporter's textfile collector. `name` distinguishes the pushes of a host.
std::string MetricsOf(const PushState& state, absl::string_view name);

// The state and the rest that `--status` shows.
struct PushStatus {
  PushState state;
  std::string name;
  bool running = false;
  std::string positions;  // the cursor file's content
  std::string set_aside_file;
  size_t set_aside_now = 0;  // events of that file, and those that are to be sent again
};
std::string StatusText(const PushStatus& status, absl::Time now, absl::TimeZone zone);
// The status as one JSON object, without a newline.
std::string StatusJson(const PushStatus& status, absl::Time now);

}  // namespace vmeventd::client
