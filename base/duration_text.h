#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// Durations in the form of flags. Pure; any thread.

namespace vmeventd {

// Parses a duration: 10m, 1h30m, 2d, 0.5s; units w d h m s ms us ns. The result is not negative.
// nullopt: `text` is not a duration.
std::optional<absl::Duration> ParseDuration(absl::string_view text);

// Formats a duration so that ParseDuration reads it back: "30d", "1h30m", "500ms". `duration` is
// finite and not negative.
std::string PrintDuration(absl::Duration duration);

}  // namespace vmeventd
