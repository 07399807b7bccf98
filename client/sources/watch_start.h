#pragma once

#include <cstdint>
#include <optional>

#include "client/connect/failure.h"
#include "client/output/print_sentence.h"
#include "client/sources/servers.h"
#include "client/sources/watch_command.h"
#include "client/sources/watch_positions.h"

namespace vmeventd::client {

// For the servers without a position, replaces the command's start: it now starts with the oldest
// of the newest `last` events of all these servers. If one of several servers fails, `note` gets
// the failure, and the history of the others is used.
std::optional<Failure> SetStart(const Servers& servers, const WatchPositions& positions,
                                uint64_t last, const PrintSentence& note, WatchCommand* command);

}  // namespace vmeventd::client
