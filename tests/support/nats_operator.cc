#include "tests/support/nats_operator.h"

#include "tests/support/child_process.h"
#include "tests/support/fail.h"

namespace vmeventd::e2e {

std::string NatsOperator::Print(const std::vector<std::string>& arguments) const {
  ChildOptions script;
  script.arguments = {VMEVENTD_NATS_CREDS, "--keys", keys_.path()};
  script.arguments.insert(script.arguments.end(), arguments.begin(), arguments.end());
  const CommandResult result = RunCommand(script);
  if (result.exit_code != 0) Fail("nats_creds.py: " + result.error);
  return result.output;
}

std::string NatsOperator::Configuration() const { return Print({"server"}); }

std::string NatsOperator::MakeCredentials(const std::string& name,
                                          const NatsPermissions& permissions) const {
  std::vector<std::string> arguments = {"user", name};
  for (const auto& [option, subjects] : {std::pair("--publish", permissions.publish),
                                         std::pair("--subscribe", permissions.subscribe)}) {
    if (subjects.empty()) continue;
    arguments.emplace_back(option);
    arguments.insert(arguments.end(), subjects.begin(), subjects.end());
  }
  return Print(arguments);
}

}  // namespace vmeventd::e2e
