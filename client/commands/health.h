#pragma once

#include <optional>

#include "client/commands/command_context.h"
#include "client/connect/failure.h"
#include "client/sources/daemon_health.h"

// `health`: whether a daemon serves.

namespace vmeventd::client {

// Asks all servers at once, prints what they answer in their order, and returns nothing, or a
// failure. It blocks for at most the command's timeout per request. An output whose reader
// has gone is no failure.
std::optional<Failure> RunCommand(const HealthCommand& command, const CommandContext& context);

}  // namespace vmeventd::client
