#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/options/option_reader.h"
#include "client/options/options.h"
#include "client/settings/contexts.h"

// Turns options into servers. The reader keeps the first fault.

namespace vmeventd::client {

// The contexts of the configuration file; none if there is no file.
absl::StatusOr<Contexts> ReadContexts(const OptionContext& context);
absl::Status NoSuchContext(absl::string_view name, const Contexts& contexts,
                           const OptionContext& context);
// Sets `line->servers` or `line->fleet`: from the options, the environment and the contexts.
void ReadServers(OptionReader* options, CommandLine* line);
// Checks whether the options and the kind of servers fit each other; sets `line->nodes`.
void ReadFleetOptions(OptionReader* options, CommandLine* line);

}  // namespace vmeventd::client
