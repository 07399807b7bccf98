#include "client/commands/health.h"

#include <cstddef>
#include <string>
#include <vector>

#include "client/commands/ask_nodes.h"
#include "client/commands/print.h"

namespace vmeventd::client {

std::optional<Failure> RunCommand(const HealthCommand& command, const CommandContext& context) {
  const auto answers = AskNodes<ServiceStates>(
      context.nodes, [&command](const DaemonNode& daemon, ServiceStates* states) {
        return ReadHealth(command, daemon, states);
      });
  std::vector<NodeHealth> services;
  for (size_t i = 0; i < answers.size(); ++i) {
    const std::string& node = context.nodes[i].name;
    ServiceStates states = answers[i].answer;
    // A node that cannot be reached has a row, too.
    if (states.empty() && !node.empty()) states.emplace_back();
    for (const auto& [service, response] : states) services.push_back({node, service, response});
  }
  const auto text = context.formatter->FormatHealth(services);
  if (auto failure = PrintText(text, context.output)) return failure;
  return FailureOf(answers, context.note);
}

}  // namespace vmeventd::client
