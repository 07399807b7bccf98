#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/connect/failure.h"
#include "client/output/output.h"

// Prints a command's answer.

namespace vmeventd::client {

// The failure of a command whose output failed; none if the output's reader has gone.
std::optional<Failure> FromPrint(const absl::Status& status);

// Writes the text. Failures: see FromPrint().
std::optional<Failure> PrintText(const absl::StatusOr<std::string>& text, Output* output);

}  // namespace vmeventd::client
