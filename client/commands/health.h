#pragma once

#include <optional>

#include "client/commands/command_context.h"
#include "client/connect/failure.h"
#include "client/sources/daemon_health.h"

// `health`: reports whether a daemon serves.

namespace vmeventd::client {

// Asks all servers at once, and prints the answers in the servers' order. Returns the failure, if
// there is one; an output whose reader has gone is no failure. Blocks for at most the command's
// timeout per request.
std::optional<Failure> RunCommand(const HealthCommand& command, const CommandContext& context);

}  // namespace vmeventd::client
