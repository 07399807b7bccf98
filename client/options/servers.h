#ifndef VMEVENTD_CLIENT_OPTIONS_SERVERS_H_
#define VMEVENTD_CLIENT_OPTIONS_SERVERS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/options/definitions.h"
#include "client/options/options.h"

// Which servers a command asks, and how: from the options, the environment and the contexts. Errors
// are INVALID_ARGUMENT for people.

namespace vmeventd::client {

// The contexts of the configuration file; none if there is no file.
absl::StatusOr<Contexts> ReadContexts(const OptionContext& context);
absl::Status NoSuchContext(absl::string_view name, const Contexts& contexts,
                           const OptionContext& context);

// Fills in `line->servers`, or `line->fleet`, for the command of `app`, which was parsed.
absl::Status ConvertServers(const CLI::App& app, const RawOptions& raw,
                            const OptionContext& context, CommandLine* line);

// The same for `doctor`: only the daemon of this node is asked, whatever the context.
absl::Status ConvertOwnServer(const CLI::App& app, const RawOptions& raw,
                              const OptionContext& context, CommandLine* line);

// Whether the options and the kind of servers fit each other; fills in `line->nodes`.
absl::Status CheckFleetOptions(const CLI::App& command, const RawOptions& raw, CommandLine* line);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OPTIONS_SERVERS_H_
