#ifndef VMEVENTD_CLIENT_RUN_LOCAL_COMMANDS_H_
#define VMEVENTD_CLIENT_RUN_LOCAL_COMMANDS_H_

#include <optional>

#include "client/connect/failure.h"
#include "client/options/options.h"
#include "client/output/output.h"
#include "client/run/terminal.h"
#include "client/settings/contexts.h"

namespace vmeventd::client {

// `context list`: prints the contexts of the configuration file.
std::optional<Failure> ListContexts(const Contexts& contexts, const CommandLine& line);
// `context use`: rewrites the configuration file.
std::optional<Failure> WriteContexts(const ContextWriteCommand& command);

// `doctor`: prints what is wrong on this node, and fails where anything is.
ExitCode RunDoctor(const CommandLine& line, const Terminal& terminal, Output* output);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_LOCAL_COMMANDS_H_
