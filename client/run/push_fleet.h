#pragma once

#include <functional>

#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/consume/delivery.h"
#include "client/options/options.h"
#include "client/push/pusher.h"

namespace vmeventd::client {

// `push` into a fleet's stream, until `stop` or a failure of the daemon's stream that cannot be
// retried. Each attempt has a connection to the servers and a stream of the daemon that begins
// behind the cursor; after any doubt another one begins. `announce` is called once, as the first of
// them begins. The pointers outlive the call.
ExitCode RunFleetPush(const PushCommand& command, const CommandLine& line, const PushTarget& target,
                      CursorFile* cursor, PushLog* log, StopSource* stop,
                      const std::function<void()>& announce);

}  // namespace vmeventd::client
