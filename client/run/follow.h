#ifndef VMEVENTD_CLIENT_RUN_FOLLOW_H_
#define VMEVENTD_CLIENT_RUN_FOLLOW_H_

#include "client/connect/failure.h"
#include "client/options/options.h"
#include "client/output/format_table.h"

namespace vmeventd::client {

// `watch` and `events --follow`, of one server, of several or of a fleet: until a signal, `--count`
// or a failure ends it. Blocks the signals that end it, so call it before any thread starts.
ExitCode RunFollow(const FollowCommand& command, const CommandLine& line, Formatter* formatter);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_FOLLOW_H_
