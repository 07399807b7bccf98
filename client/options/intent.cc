#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/utf8.h"
#include "client/cli/option.h"
#include "client/cli/option_error.h"
#include "client/commands/intents.h"
#include "client/options/add_command.h"
#include "client/options/commands.h"
#include "client/options/filter.h"
#include "client/options/reading.h"
#include "client/options/time_options.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

// An intent's time, as vmeventd takes it.
absl::Duration ReadTtl(const std::string& text) {
  constexpr absl::Duration kMaxTtl = absl::Hours(24);
  const absl::StatusOr<absl::Duration> ttl = ParseDurationText(text);
  if (ttl.ok() && *ttl <= kMaxTtl) return *ttl;
  Wrong(absl::StrCat("\"", text,
                     "\" is not a duration of more than 0 and at most 24h; use 30s, 10m, 1h30m, or "
                     "leave it out for 10m"));
}

}  // namespace

void AddIntent(CLI::App* program, Reading* reading) {
  CLI::App* intent = AddCommand(program, "intent", "Declare who is about to stop a VM, and why");
  intent->require_subcommand(1);
  const auto check = [=](DeclareIntentCommand* one) {
    if (one->actor.empty()) one->actor = reading->context.user;
    if (one->actor.empty()) Wrong("name who is about to act", "--actor");
    if (!IsValidUtf8(one->actor)) Wrong("the user's name is not UTF-8; give another", "--actor");
    if (one->reason.empty()) Wrong("give the reason", "--reason");
  };
  const auto [app, declare] =
      Add<DeclareIntentCommand>(intent, reading, "declare", "Declare an intent for a VM", check);
  app->alias("create")->alias("add");
  AddOption(app, "NAME", "", "the VM's name", [to = declare](const std::string& text) {
    to->name = ReadVmName(text);
  })->required();
  AddValue(
      app, "--actor", "WHO",
      "the person or system that is about to act (default $SUDO_USER, $USER or the user's name)",
      &declare->actor);
  AddValue(app, "--reason", "WHY", "why the VM is to end, as one sentence for people",
           &declare->reason);
  AddOption(app, "--ttl", "DURATION",
            "how long the intent is valid, such as 5m, at most 24h (default 10m)",
            [to = declare](const std::string& text) { to->ttl = ReadTtl(text); });
  AddValue(app, "--run", "RUN_ID",
           "the run that is about to end; needed if several runs have the VM's name",
           &declare->run_id);
  AddOption(
      app, "--started-before", "TIME",
      "when the operation began: refuse the intent if the VM's present run started later; for "
      "hooks that may be called late",
      [=, to = declare](const std::string& text) {
        to->started_before = ReadTime(reading->context, text);
      });
  AddValue(app, "--request-id", "ID",
           "an ID of your choice that makes a retry safe: while the intent is open, the same "
           "declaration with this ID returns it; `intent list -o json` shows the ID",
           &declare->request_id);
  CLI::App* list = Add<IntentsCommand>(intent, reading, "list", "List the open intents").first;
  list->alias("ls")->alias("get");
  AddNode(list, reading);
  const auto [withdraw, withdrawn] =
      Add<WithdrawIntentCommand>(intent, reading, "withdraw", "Withdraw a declared intent");
  withdraw->alias("delete")->alias("rm");
  AddValue(withdraw, "INTENT_ID", "", "the intent's ID, as declare and list print it",
           &withdrawn->intent_id)
      ->required();
}

}  // namespace vmeventd::client
