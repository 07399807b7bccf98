#ifndef VMEVENTD_CLIENT_RUN_CONTEXTS_H_
#define VMEVENTD_CLIENT_RUN_CONTEXTS_H_

#include <optional>

#include "client/connect/rpc_failure.h"
#include "client/options/options.h"
#include "client/settings/contexts.h"

namespace vmeventd::client {

// `context list`: prints the contexts of the configuration file.
std::optional<Failure> ListContexts(const Contexts& contexts, const CommandLine& line);
// `context use`: rewrites the configuration file.
std::optional<Failure> UseContext(const ContextUseCommand& command);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_CONTEXTS_H_
