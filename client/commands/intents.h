#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "client/commands/command_context.h"
#include "client/connect/failure.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sources/list_source.h"

// `intent`: declares, lists and withdraws intents: what somebody is about to do to a VM.

namespace vmeventd::client {

// Without a ttl, the server's default applies.
struct DeclareIntentCommand {
  std::string name;
  std::string run_id;  // empty: the only run with that name
  std::string actor;
  std::string reason;
  std::optional<absl::Duration> ttl;
  std::optional<absl::Time> started_before;
  std::string request_id{};
};

struct IntentsCommand {};

struct WithdrawIntentCommand {
  std::string intent_id;
};

// Each asks the server that has the VM, and prints the answer. Returns the failure, if there is
// one; an output whose reader has gone is no failure. Blocks for at most kRequestTimeout per
// request.
std::optional<Failure> RunCommand(const DeclareIntentCommand& command,
                                  const CommandContext& context);
std::optional<Failure> RunCommand(const WithdrawIntentCommand& command,
                                  const CommandContext& context);

// Prints the open intents.
std::optional<Failure> RunList(const IntentsCommand& command, ListSource* source,
                               Formatter* formatter, Output* output);

}  // namespace vmeventd::client
