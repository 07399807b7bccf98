#include "client/commands/info.h"

#include "client/commands/ask_nodes.h"
#include "client/commands/print.h"
#include "client/sources/daemon_info.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

std::optional<Failure> RunCommand(const InfoCommand& /*command*/, const CommandContext& context) {
  const auto answers = AskNodes<v1::GetServerInfoResponse>(context.nodes, ReadInfo);
  for (const auto& one : answers) {
    if (one.failure) continue;
    auto printed = PrintText(context.formatter->FormatInfo(one.answer), context.output);
    if (printed) return printed;
  }
  return FailureOf(answers, context.note);
}

}  // namespace vmeventd::client
