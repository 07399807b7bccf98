#include "client/commands/streams.h"

#include <utility>
#include <vector>

#include "client/commands/ask_nodes.h"
#include "client/commands/print.h"
#include "client/output/node_stream.h"
#include "client/sources/daemon_call.h"

namespace vmeventd::client {

std::optional<Failure> RunCommand(const StreamsCommand& /*command*/,
                                  const CommandContext& context) {
  using Streams = std::vector<NodeStream>;
  const auto answers =
      AskNodes<Streams>(context.nodes, [](const DaemonNode& daemon, Streams* streams) {
        return ReadPages(daemon, &Stub::ListStreams, v1::ListStreamsRequest(),
                         [&](v1::ListStreamsResponse* page) {
                           for (v1::Stream& one : *page->mutable_streams()) {
                             streams->push_back({std::move(one), {.name = daemon.name}});
                           }
                           return true;
                         });
      });
  Streams all;
  for (const auto& one : answers) all.insert(all.end(), one.answer.begin(), one.answer.end());
  auto failure = FailureOf(answers, context.note);
  if (failure && all.empty()) return failure;
  const auto printed = PrintText(context.formatter->FormatStreams(all), context.output);
  return printed ? printed : failure;
}

}  // namespace vmeventd::client
