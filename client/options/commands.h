#ifndef VMEVENTD_CLIENT_OPTIONS_COMMANDS_H_
#define VMEVENTD_CLIENT_OPTIONS_COMMANDS_H_

#include "absl/status/statusor.h"
#include "client/options/definitions.h"
#include "client/options/options.h"

// Each command from its options; `app` is the parsed subcommand. Errors are INVALID_ARGUMENT for
// people. Pure.

namespace vmeventd::client {

absl::StatusOr<FollowCommand> MakeWatch(const CLI::App& app, const RawOptions& raw,
                                        const OptionContext& context);
absl::StatusOr<PushCommand> MakePush(const CLI::App& app, const RawOptions& raw,
                                     const OptionContext& context);
absl::StatusOr<EventsCommand> MakeEvents(const CLI::App& app, const RawOptions& raw,
                                         const OptionContext& context);
// `events -f`: the history that `events` has, and what follows.
absl::StatusOr<FollowCommand> MakeFollow(const CLI::App& app, const RawOptions& raw,
                                         const OptionContext& context);
absl::StatusOr<VmsCommand> MakeVms(const RawOptions& raw);
absl::StatusOr<VmCommand> MakeVm(const CLI::App& app, const RawOptions& raw);
absl::StatusOr<DeclareIntentCommand> MakeDeclareIntent(const CLI::App& app, const RawOptions& raw,
                                                       const OptionContext& context);
absl::StatusOr<WithdrawIntentCommand> MakeWithdrawIntent(const RawOptions& raw);
absl::StatusOr<HealthCommand> MakeHealth(const CLI::App& app, const RawOptions& raw);
absl::StatusOr<TopCommand> MakeTop(const CLI::App& app, const RawOptions& raw);
absl::StatusOr<TimelineCommand> MakeTimeline(const CLI::App& app, const RawOptions& raw,
                                             const OptionContext& context);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OPTIONS_COMMANDS_H_
