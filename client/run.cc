#include "client/run.h"

#include <unistd.h>

#include <iostream>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "client/commands/watch_loop.h"
#include "client/connect/connection.h"
#include "client/connect/resolver.h"
#include "client/connect/stop_source.h"
#include "client/output/format_json.h"
#include "client/output/format_table.h"
#include "client/output/output.h"
#include "client/stop_signals.h"

namespace vmeventd::client {
namespace {

// `sentence` must be safe for a terminal.
void PrintNote(const std::string& sentence) {
  std::cerr << "vmevents: " + sentence + "\n" << std::flush;
}

std::unique_ptr<Formatter> MakeFormatter(const CommandLine& line, const OptionContext& context,
                                         bool color_allowed) {
  if (line.format == OutputFormat::kJson) return std::make_unique<JsonFormatter>();
  const bool color =
      line.color == ColorMode::kAlways ||
      (line.color == ColorMode::kAuto && color_allowed && isatty(STDOUT_FILENO) == 1);
  return std::make_unique<TableFormatter>(color, context.zone);
}

ExitCode RunWatch(WatchCommand command, const ServerAddress& address, Formatter* formatter,
                  Output* output) {
  StopSource stop;
  const auto signals = StopSignals::Create(&stop, STDOUT_FILENO);
  if (!signals.ok()) {
    PrintNote(std::string(signals.status().message()));
    return ExitCode::kFailed;
  }
  WatchLoop::Environment environment;
  environment.address = address;
  environment.formatter = formatter;
  environment.output = output;
  environment.stop = &stop;
  environment.note = PrintNote;
  environment.resolve = StoppableResolver(ResolveHost, stop.token());
  environment.wait = [&stop](absl::Duration duration) { return stop.WaitFor(duration); };
  return WatchLoop(std::move(command), std::move(environment)).Run();
}

ExitCode RunLine(CommandLine line, Formatter* formatter) {
  DescriptorOutput output(STDOUT_FILENO);
  if (auto* watch = std::get_if<WatchCommand>(&line.command)) {
    return RunWatch(std::move(*watch), line.server, formatter, &output);
  }
  const absl::StatusOr<PinnedChannel> connected = ConnectToOne(line.server, ResolveHost);
  if (!connected.ok()) {
    const Failure failure = ExplainBadFiles(connected.status());
    PrintNote(failure.sentence);
    return failure.code;
  }
  if (connected->ambiguous) {
    PrintNote(absl::StrCat(line.server.host, " has several addresses, which may be several ",
                           "nodes: asking ", ToText(connected->address), " only"));
  }
  const auto stub = v1::VmEventService::NewStub(connected->channel);
  const auto health = grpc::health::v1::Health::NewStub(connected->channel);
  const CommandContext context = {connected->address, stub.get(), health.get(), formatter, &output};
  const auto run = [&context](const auto& command) -> std::optional<Failure> {
    if constexpr (std::is_same_v<std::decay_t<decltype(command)>, WatchCommand>) {
      return std::nullopt;  // done above
    } else {
      return RunCommand(command, context);
    }
  };
  const std::optional<Failure> failure = std::visit(run, line.command);
  if (!failure) return ExitCode::kOk;
  PrintNote(failure->sentence);
  return failure->code;
}

ExitCode PrintAnswer(const Answered& answered) {
  if (!answered.err.empty()) PrintNote(answered.err);
  DescriptorOutput output(STDOUT_FILENO);
  const absl::Status written = output.Write(answered.out);
  if (written.ok() || absl::IsCancelled(written)) return answered.code;
  PrintNote(std::string(written.message()));
  return ExitCode::kFailed;
}

}  // namespace

ExitCode Run(const std::vector<std::string>& arguments, const OptionContext& context,
             bool color_allowed) {
  auto parsed = ParseCommandLine(arguments, context);
  if (const auto* answered = std::get_if<Answered>(&parsed)) return PrintAnswer(*answered);
  CommandLine& line = std::get<CommandLine>(parsed);
  const auto formatter = MakeFormatter(line, context, color_allowed);
  return RunLine(std::move(line), formatter.get());
}

}  // namespace vmeventd::client
