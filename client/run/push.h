#ifndef VMEVENTD_CLIENT_RUN_PUSH_H_
#define VMEVENTD_CLIENT_RUN_PUSH_H_

#include "client/connect/exit_code.h"
#include "client/options/options.h"
#include "client/output/output.h"

namespace vmeventd::client {

// `push`, until a signal, the receiver (410) or a failure that cannot be retried ends it; or its
// `--status`. Blocks the signals that end it, so call it before any thread starts.
ExitCode RunPush(const PushCommand& command, const CommandLine& line, Output* output);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_PUSH_H_
