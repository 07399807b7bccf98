#pragma once

#include <optional>

#include "client/commands/command_context.h"
#include "client/connect/failure.h"

// `streams`: who watches a daemon's events.

namespace vmeventd::client {

// The open WatchEvents streams.
struct StreamsCommand {};

// Asks all servers at once, prints what they answer in their order, and returns nothing, or a
// failure. It blocks for at most kRequestTimeout per request. An output whose reader has
// gone is no failure.
std::optional<Failure> RunCommand(const StreamsCommand& command, const CommandContext& context);

}  // namespace vmeventd::client
