#include <algorithm>
#include <optional>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "client/options/commands.h"
#include "client/options/option_values.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

absl::Status Wrong(absl::string_view what) { return absl::InvalidArgumentError(what); }

}  // namespace

absl::StatusOr<VmsCommand> MakeVms(const RawOptions& raw) {
  const auto globs = ParseFilter(raw.vms, {}, {}, raw.sources);
  if (!globs.ok()) return globs.status();
  const auto states = ParseStates(raw.states);
  if (!states.ok()) return states.status();
  VmsCommand command;
  command.names = raw.vms;
  command.sources = raw.sources;
  command.states = *states;
  // A request for stopped VMs implies that they are listed.
  command.include_stopped =
      raw.all || std::find(states->begin(), states->end(), v1::VM_STATE_STOPPED) != states->end();
  return command;
}

absl::StatusOr<VmCommand> MakeVm(const CLI::App& app, const RawOptions& raw) {
  const absl::Status name = CheckText("NAME", raw.name);
  if (!name.ok()) return name;
  if (app.count("--run") > 0) {
    const absl::Status run = CheckText("--run", raw.run_id);
    if (!run.ok()) return run;
  }
  return VmCommand{raw.name, raw.run_id};
}

absl::StatusOr<DeclareIntentCommand> MakeDeclareIntent(const CLI::App& app, const RawOptions& raw) {
  absl::Status status = CheckText("NAME", raw.name);
  // CLI11's own "required" would name only one of them, without saying what it is for.
  if (status.ok() && app.count("--actor") == 0) status = Wrong("--actor: say who is about to act");
  if (status.ok()) status = CheckText("--actor", raw.actor);
  if (status.ok() && app.count("--reason") == 0) status = Wrong("--reason: say why");
  if (status.ok()) status = CheckText("--reason", raw.reason);
  if (status.ok() && app.count("--run") > 0) status = CheckText("--run", raw.run_id);
  if (!status.ok()) return status;
  DeclareIntentCommand command = {raw.name, raw.run_id, raw.actor, raw.reason, std::nullopt};
  if (app.count("--ttl") > 0) {
    const absl::StatusOr<absl::Duration> ttl = ParseDurationText(raw.ttl);
    if (!ttl.ok()) return Wrong(absl::StrCat("--ttl: ", ttl.status().message()));
    command.ttl = *ttl;
  }
  return command;
}

absl::StatusOr<WithdrawIntentCommand> MakeWithdrawIntent(const RawOptions& raw) {
  const absl::Status id = CheckText("INTENT_ID", raw.intent_id);
  if (!id.ok()) return id;
  return WithdrawIntentCommand{raw.intent_id};
}

absl::StatusOr<HealthCommand> MakeHealth(const CLI::App& app, const RawOptions& raw) {
  HealthCommand command;
  command.service = raw.service;
  if (!raw.service.empty()) {
    const absl::Status service = CheckText("SERVICE", raw.service);
    if (!service.ok()) return service;
  }
  if (app.count("--timeout") > 0) {
    const absl::StatusOr<absl::Duration> timeout = ParseDurationText(raw.timeout);
    if (!timeout.ok()) return Wrong(absl::StrCat("--timeout: ", timeout.status().message()));
    command.timeout = *timeout;
  }
  return command;
}

absl::StatusOr<TopCommand> MakeTop(const CLI::App& app, const RawOptions& raw) {
  TopCommand command;
  if (app.count("--interval") > 0) {
    const absl::StatusOr<absl::Duration> interval = ParseDurationText(raw.interval);
    if (!interval.ok()) return Wrong(absl::StrCat("--interval: ", interval.status().message()));
    command.interval = *interval;
  }
  if (app.count("--window") > 0) {
    const absl::StatusOr<absl::Duration> window = ParseDurationText(raw.window);
    if (!window.ok()) return Wrong(absl::StrCat("--window: ", window.status().message()));
    command.window = *window;
  }
  return command;
}

absl::StatusOr<TimelineCommand> MakeTimeline(const CLI::App& app, const RawOptions& raw,
                                             const OptionContext& context) {
  absl::Status status = CheckText("NAME", raw.name);
  if (status.ok() && app.count("--run") > 0) status = CheckText("--run", raw.run_id);
  if (!status.ok()) return status;
  const auto since =
      ParseTimeOption("--since", app.count("--since") > 0, raw.since, context.now, context.zone);
  if (!since.ok()) return since.status();
  return TimelineCommand{raw.name, raw.run_id, *since};
}

}  // namespace vmeventd::client
