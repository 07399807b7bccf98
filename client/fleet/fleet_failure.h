#pragma once

#include <string>

#include "absl/status/status.h"
#include "client/connect/failure.h"
#include "client/output/invocation.h"

namespace vmeventd::client {

// Explains a failed request to the fleet. `servers`: result of ToText() (url.h). Pure.
Failure ExplainFleetFailure(const std::string& servers, const Invocation& invocation,
                            const absl::Status& status);

}  // namespace vmeventd::client
