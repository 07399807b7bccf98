#pragma once

#include <optional>

#include "client/commands/command_context.h"
#include "client/connect/failure.h"

// `info`: shows a daemon's own state.

namespace vmeventd::client {

struct InfoCommand {};

// Asks all servers at once, and prints the answers in the servers' order. Returns the failure, if
// there is one; an output whose reader has gone is no failure. Blocks for at most kRequestTimeout
// per request.
std::optional<Failure> RunCommand(const InfoCommand& command, const CommandContext& context);

}  // namespace vmeventd::client
