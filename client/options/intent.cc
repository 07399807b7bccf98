#include <string>

#include "CLI/CLI.hpp"
#include "base/utf8.h"
#include "client/cli/option.h"
#include "client/commands/intents.h"
#include "client/options/commands.h"
#include "client/options/common.h"
#include "client/options/filter.h"
#include "client/options/parser.h"

namespace vmeventd::client {

void AddIntent(CLI::App* program, Reading* reading) {
  CLI::App* intent = AddCommand(program, "intent", "Declare who is about to stop a VM, and why");
  intent->require_subcommand(1);
  const auto check = [=](DeclareIntentCommand* one) {
    if (one->actor.empty()) one->actor = reading->context.user;
    if (one->actor.empty()) Wrong("--actor: name who is about to act");
    if (!IsValidUtf8(one->actor)) Wrong("--actor: the user's name is not UTF-8; give another");
    if (one->reason.empty()) Wrong("--reason: give the reason");
  };
  const auto [app, declare] =
      Add<DeclareIntentCommand>(intent, reading, "declare", "Declare an intent for a VM", check);
  app->alias("create")->alias("add");
  AddOption(app, "NAME", "", "the VM's name", [to = declare](const std::string& text) {
    to->name = ReadVmName(text);
  })->required();
  AddValue(app, "--actor", "WHO",
           "the person or the system that acts (default $SUDO_USER, $USER or the user's name)",
           &declare->actor);
  AddValue(app, "--reason", "WHY", "one sentence for people", &declare->reason);
  AddValue(app, "--ttl", "DURATION", "how long it is valid, such as 5m, at most 24h (default 10m)",
           &declare->ttl);
  AddValue(app, "--run", "RUN_ID", "the run, if a name has several", &declare->run_id);
  AddOption(app, "--started-before", "TIME",
            "only for a run that started before: for hooks that may be late",
            [=, to = declare](const std::string& text) {
              to->started_before = ReadTime(reading->context, text);
            });
  AddValue(
      app, "--request-id", "ID",
      "while the intent is open, a retry with this id is the same intent; `intent list -o json` "
      "shows it",
      &declare->request_id);
  CLI::App* list = Add<IntentsCommand>(intent, reading, "list", "List the open intents").first;
  list->alias("ls")->alias("get");
  AddNode(list, reading);
  const auto [withdraw, withdrawn] =
      Add<WithdrawIntentCommand>(intent, reading, "withdraw", "Withdraw a declared intent");
  withdraw->alias("delete")->alias("rm");
  AddValue(withdraw, "INTENT_ID", "", "as printed by declare", &withdrawn->intent_id)->required();
}

}  // namespace vmeventd::client
