#pragma once

#include <optional>

#include "client/commands/command_context.h"
#include "client/connect/failure.h"

// `info`: a daemon's own state.

namespace vmeventd::client {

struct InfoCommand {};

// Asks all servers at once, prints what they answer in their order, and returns nothing, or a
// failure. It blocks for at most kRequestTimeout per request. An output whose reader has
// gone is no failure.
std::optional<Failure> RunCommand(const InfoCommand& command, const CommandContext& context);

}  // namespace vmeventd::client
