#ifndef VMEVENTD_BASE_DURATION_TEXT_H_
#define VMEVENTD_BASE_DURATION_TEXT_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace vmeventd {

// A length of time as flags take it: 10m, 1h30m, 2d, 0.5s; units w d h m s ms us ns. Not negative.
// nullopt: the text is none.
std::optional<absl::Duration> ParseDuration(absl::string_view text);

// As ParseDuration takes it: "30d", "1h30m", "500ms". Not negative, finite.
std::string PrintDuration(absl::Duration duration);

}  // namespace vmeventd

#endif  // VMEVENTD_BASE_DURATION_TEXT_H_
