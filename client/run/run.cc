#include "client/run.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/small_file.h"
#include "client/commands/merged_lists.h"
#include "client/commands/merged_watch.h"
#include "client/commands/top.h"
#include "client/commands/watch_loop.h"
#include "client/connect/connection.h"
#include "client/connect/resolver.h"
#include "client/connect/stop_source.h"
#include "client/consume/command_runner.h"
#include "client/consume/cursor_file.h"
#include "client/consume/node_sink.h"
#include "client/doctor/doctor.h"
#include "client/fleet/fleet_lists.h"
#include "client/fleet/fleet_watch.h"
#include "client/output/atomic_file.h"
#include "client/output/format_json.h"
#include "client/output/format_names.h"
#include "client/output/format_table.h"
#include "client/output/format_yaml.h"
#include "client/output/output.h"
#include "client/output/terminal_text.h"
#include "client/stop_signals.h"
#include "client/terminal/pager.h"

namespace vmeventd::client {
namespace {

// `sentence` must be safe for a terminal.
void PrintNote(const std::string& sentence) {
  std::cerr << "vmevents: " + sentence + "\n" << std::flush;
}

// Keeps sentences until the pager, which would hide them, has ended. Any thread.
class LateNotes {
 public:
  void Add(const std::string& sentence) {
    const std::lock_guard<std::mutex> lock(mutex_);
    sentences_.push_back(sentence);
  }
  void Print() {
    for (const std::string& sentence : sentences_) PrintNote(sentence);
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> sentences_;
};

bool HasColor(const CommandLine& line, const Terminal& terminal) {
  return line.color == ColorMode::kAlways ||
         (line.color == ColorMode::kAuto && terminal.color_allowed && isatty(STDOUT_FILENO) == 1);
}

std::unique_ptr<Formatter> MakeFormatter(const CommandLine& line, const Terminal& terminal) {
  switch (line.format) {
    case OutputFormat::kJson:
      return std::make_unique<JsonFormatter>();
    case OutputFormat::kYaml:
      return std::make_unique<YamlFormatter>();
    case OutputFormat::kName:
      return std::make_unique<NameFormatter>();
    case OutputFormat::kTable:
    case OutputFormat::kWide:
      break;
  }
  const bool on_terminal = isatty(STDOUT_FILENO) == 1;
  TableStyle style;
  style.color = HasColor(line, terminal);
  style.zone = line.zone;
  style.headings = line.headings;
  style.nodes = line.servers.size() > 1 || line.fleet;
  for (const ServerAddress& server : line.servers) {
    style.node_width =
        std::max(style.node_width, DisplayWidth(EscapeForTerminal(NodeName(server))));
  }
  style.wide = line.format == OutputFormat::kWide;
  style.width = SizeOfTerminal(STDOUT_FILENO).columns;
  // Programs that read the table want every date.
  if (on_terminal) style.now = absl::Now;
  return std::make_unique<TableFormatter>(std::move(style));
}

ExitCode Fail(const Failure& failure) {
  PrintNote(failure.sentence);
  return failure.code;
}

ExitCode Fail(const absl::Status& status) {
  return Fail(Failure{ExitCode::kFailed, std::string(status.message())});
}

// Runs `ask` with a connection to the server.
template <typename Ask>
std::optional<Failure> WithServer(const ServerAddress& server, Formatter* formatter, Output* output,
                                  const Ask& ask) {
  const absl::StatusOr<PinnedChannel> connected = ConnectToOne(server, ResolveHost);
  if (!connected.ok()) return ExplainBadFiles(connected.status());
  if (connected->ambiguous) {
    PrintNote(absl::StrCat(server.host, " has several addresses, which may be several ",
                           "nodes: asking ", ToText(connected->address), " only"));
  }
  const auto stub = v1::VmEventService::NewStub(connected->channel);
  const auto health = grpc::health::v1::Health::NewStub(connected->channel);
  CommandContext context;
  context.address = connected->address;
  context.stub = stub.get();
  context.health = health.get();
  context.formatter = formatter;
  context.output = output;
  return ask(context);
}

std::unique_ptr<EventConsumer> MakeConsumer(const FollowCommand& command, const std::string& server,
                                            Formatter* formatter, Output* output,
                                            StopSource* stop) {
  if (command.exec.empty()) return std::make_unique<Printer>(formatter, output);
  CommandRunner::Environment environment;
  environment.command = command.exec;
  environment.on_failure = command.on_failure;
  environment.node = server;
  environment.run = [stop](const CommandCall& call) { return RunCommandCall(call, stop->token()); };
  environment.wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); };
  environment.note = PrintNote;
  return std::make_unique<CommandRunner>(std::move(environment));
}

std::optional<Failure> StartAtLast(const ServerAddress& server, uint64_t last,
                                   WatchCommand* command) {
  std::optional<absl::Time> since;
  if (const auto* from = std::get_if<FromTime>(&command->start)) since = from->time;
  return WithServer(server, nullptr, nullptr, [&](const CommandContext& context) {
    return FindStartOfLast(command->filter, since, last, context, &command->start);
  });
}

// Opens the cursor file, if there is one.
absl::StatusOr<std::unique_ptr<CursorFile>> OpenCursor(const FollowCommand& command,
                                                       const CommandLine& line) {
  if (command.cursor_file.empty()) return nullptr;
  std::vector<std::string> names;
  for (const ServerAddress& server : line.servers) names.push_back(ToText(server));
  if (line.fleet) names.push_back(FleetWatch::CursorKey());
  return CursorFile::Open(command.cursor_file, names);
}

// Where the watch of one server begins.
std::optional<Failure> SetStart(const FollowCommand& command, const ServerAddress& server,
                                const CursorFile* cursor, WatchCommand* watch) {
  const std::optional<WatchPosition> position =
      cursor == nullptr ? std::nullopt : cursor->Find(ToText(server));
  if (position) {
    watch->start = FromSequence{position->sequence, position->journal_id};
  } else if (command.last) {
    return StartAtLast(server, *command.last, watch);
  }
  return std::nullopt;
}

ExitCode FollowOne(const FollowCommand& command, const ServerAddress& server, CursorFile* cursor,
                   EventConsumer* consumer, StopSource* stop) {
  WatchCommand watch = command.watch;
  if (const auto failure = SetStart(command, server, cursor, &watch)) return Fail(*failure);
  NodeSink sink(consumer, cursor, ToText(server));
  WatchLoop::Environment environment;
  environment.address = server;
  environment.sink = &sink;
  environment.stop = stop;
  environment.note = PrintNote;
  environment.resolve = StoppableResolver(ResolveHost, stop->token());
  environment.wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); };
  return WatchLoop(std::move(watch), std::move(environment)).Run();
}

ExitCode FollowSeveral(const FollowCommand& command, const std::vector<ServerAddress>& servers,
                       CursorFile* cursor, EventConsumer* consumer, StopSource* stop) {
  std::vector<WatchedNode> nodes;
  for (const ServerAddress& server : servers) {
    WatchedNode node = {NodeName(server), ToText(server), command.watch, server};
    // The merged watch counts; and no node that is down holds up the others.
    node.command.count.reset();
    node.command.wait = node.command.resume;
    if (const auto failure = SetStart(command, server, cursor, &node.command)) {
      PrintNote(failure->sentence);
      node.command.start = FromNow{};  // its history is not worth more than that of the others
    }
    nodes.push_back(std::move(node));
  }
  MergedWatch::Environment environment;
  environment.consumer = consumer;
  environment.cursor = cursor;
  environment.stop = stop;
  environment.note = PrintNote;
  return MergedWatch(std::move(nodes), command.watch.count, std::move(environment)).Run();
}

FleetContext FleetContextOf(const CommandLine& line, Formatter* formatter, Output* output) {
  FleetContext context;
  context.servers = ToText(*line.fleet);
  context.connect = ConnectorTo(*line.fleet);
  context.nodes = line.nodes;
  context.formatter = formatter;
  context.output = output;
  context.note = PrintNote;
  return context;
}

ExitCode FollowFleet(const FollowCommand& command, const CommandLine& line, CursorFile* cursor,
                     EventConsumer* consumer, StopSource* stop) {
  FleetWatchCommand watch;
  watch.start = command.watch.start;
  watch.filter = {command.watch.filter, line.nodes, std::nullopt, std::nullopt};
  watch.count = command.watch.count;
  watch.resume = command.watch.resume;
  watch.wait = command.watch.wait;
  const std::optional<WatchPosition> position =
      cursor == nullptr ? std::nullopt : cursor->Find(FleetWatch::CursorKey());
  if (position) {
    watch.start = FromSequence{position->sequence, position->journal_id};
  } else if (command.last) {
    FleetFilter filter = watch.filter;
    if (const auto* from = std::get_if<FromTime>(&watch.start)) filter.since = from->time;
    const FleetContext context = FleetContextOf(line, nullptr, nullptr);
    const auto failure = FindFleetStart(filter, *command.last, context, &watch.start);
    if (failure) return Fail(*failure);
  }
  FleetWatch::Environment environment;
  environment.connect = ConnectorTo(*line.fleet);
  environment.servers = ToText(*line.fleet);
  environment.consumer = consumer;
  environment.cursor = cursor;
  environment.stop = stop;
  environment.note = PrintNote;
  environment.wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); };
  return FleetWatch(std::move(watch), std::move(environment)).Run();
}

ExitCode RunFollow(const FollowCommand& command, const CommandLine& line, Formatter* formatter) {
  const std::vector<ServerAddress>& servers = line.servers;
  StopSource stop;
  // Before anything that may start a thread.
  const auto signals = StopSignals::Create(&stop, STDOUT_FILENO);
  if (!signals.ok()) return Fail(signals.status());
  const auto cursor = OpenCursor(command, line);
  if (!cursor.ok()) return Fail(cursor.status());
  DescriptorOutput output(STDOUT_FILENO);
  const std::string node = line.fleet ? "" : NodeName(servers[0]);
  const auto consumer = MakeConsumer(command, node, formatter, &output, &stop);
  if (line.fleet) return FollowFleet(command, line, cursor->get(), consumer.get(), &stop);
  return servers.size() == 1
             ? FollowOne(command, servers[0], cursor->get(), consumer.get(), &stop)
             : FollowSeveral(command, servers, cursor->get(), consumer.get(), &stop);
}

// A command that merges the answers of several servers.
template <typename Command>
ExitCode RunSeveral(const Command& command, const std::vector<ServerAddress>& servers,
                    Formatter* formatter, Output* output, LateNotes* notes) {
  std::vector<AskedNode> nodes;
  nodes.reserve(servers.size());
  for (const ServerAddress& server : servers) {
    nodes.push_back({NodeName(server), [&server](const auto& ask) {
                       return WithServer(server, nullptr, nullptr, ask);
                     }});
  }
  return RunMerged(command, nodes,
                   {formatter, output, [notes](const std::string& note) { notes->Add(note); }});
}

// The name, the servers, and "*" for the current one.
absl::StatusOr<std::string> FormatContexts(const Contexts& contexts, const CommandLine& line) {
  ColumnLayout layout({{"CURRENT"}, {"NAME"}, {"SERVERS"}}, Painter(false));
  std::vector<std::vector<Cell>> rows;
  std::string text;
  for (const Context& context : contexts.list) {
    const bool current = context.name == contexts.current;
    if (line.format == OutputFormat::kName) {
      absl::StrAppend(&text, EscapeForTerminal(context.name), "\n");
      continue;
    }
    rows.push_back({{current ? "*" : ""},
                    {EscapeForTerminal(context.name)},
                    {EscapeForTerminal(absl::StrJoin(context.servers, ", "))}});
    layout.Fit(rows.back());
  }
  if (line.format == OutputFormat::kName) return text;
  if (line.format == OutputFormat::kJson || line.format == OutputFormat::kYaml) {
    return absl::InvalidArgumentError("context list: has no such form; use -o table or name");
  }
  if (line.headings) text = layout.Heading();
  for (const std::vector<Cell>& row : rows) text += layout.Line(row);
  return text;
}

std::optional<Failure> ListContexts(const Contexts& contexts, const CommandLine& line) {
  const absl::StatusOr<std::string> text = FormatContexts(contexts, line);
  if (!text.ok()) return Failure{ExitCode::kUsage, std::string(text.status().message())};
  return FromPrint(DescriptorOutput(STDOUT_FILENO).Write(*text));
}

// Writes through links, which people use for such files.
std::optional<Failure> UseContext(const ContextUseCommand& command) {
  std::error_code ignored;
  const std::string path = std::filesystem::weakly_canonical(command.path, ignored);
  const absl::Status written =
      WriteFileAtomically(path.empty() ? command.path : path, command.content);
  return FromPrint(written);
}

// The pager for a command with a long answer, if there is a terminal and a pager.
std::unique_ptr<Pager> MakePager(const CommandLine& line, const Terminal& terminal) {
  const bool lists = std::holds_alternative<EventsCommand>(line.command) ||
                     std::holds_alternative<VmsCommand>(line.command) ||
                     std::holds_alternative<TimelineCommand>(line.command);
  if (!lists || !line.pager || isatty(STDOUT_FILENO) == 0) return nullptr;
  const std::string command = ChoosePager(terminal.own_pager, terminal.common_pager, IsInPath);
  return command.empty() ? nullptr : Pager::Start(command);
}

ExitCode RunTopOf(const TopCommand& command, const CommandLine& line, const Terminal& terminal,
                  Output* output) {
  StopSource stop;
  const auto signals = StopSignals::Create(&stop, STDOUT_FILENO);
  if (!signals.ok()) return Fail(signals.status());
  TopEnvironment environment;
  environment.live = isatty(STDOUT_FILENO) == 1;
  environment.style = [&] {
    TopStyle style;
    style.color = HasColor(line, terminal);
    style.zone = line.zone;
    const TerminalSize size = SizeOfTerminal(STDOUT_FILENO);
    if (size.columns > 0) style.width = size.columns;
    // The last line stays free: a newline there would scroll.
    if (size.rows > 1) style.height = size.rows - 1;
    return style;
  };
  environment.wait = [&stop](absl::Duration duration) { return stop.WaitFor(duration); };
  const auto failure = WithServer(
      line.server(), nullptr, output,
      [&](const CommandContext& context) { return RunTop(command, context, environment); });
  return failure ? Fail(*failure) : ExitCode::kOk;
}

std::optional<Failure> RunTimelineOf(const TimelineCommand& command, const CommandLine& line,
                                     const Terminal& terminal, Formatter* formatter,
                                     Output* output) {
  return WithServer(line.server(), formatter, output, [&](const CommandContext& context) {
    const bool for_people =
        line.format == OutputFormat::kTable || line.format == OutputFormat::kWide;
    if (!for_people) return RunCommand(EventsOf(command), context);
    TimelineStyle style;
    style.color = HasColor(line, terminal);
    style.zone = line.zone;
    const size_t columns = SizeOfTerminal(STDOUT_FILENO).columns;
    if (columns > 0) style.width = columns;
    return RunTimeline(command, context, style, absl::Now());
  });
}

// The watches of a daemon that does not answer.
absl::StatusOr<std::vector<WatchSpec>> ConfiguredWatches() {
  constexpr char kConfiguration[] = "/etc/vmeventd/vmeventd.conf";
  constexpr size_t kMostBytes = 1 << 20;
  const auto content = ReadSmallFile(kConfiguration, kMostBytes);
  auto watches = WatchesOfConfiguration(content.ok() ? *content : "");
  if (watches.ok()) return watches;
  return absl::InvalidArgumentError(absl::StrCat(kConfiguration, ": ", watches.status().message(),
                                                 "; vmeventd --check-config --config ",
                                                 kConfiguration, " says more"));
}

DaemonAnswer AskDaemon(const ServerAddress& server) {
  DaemonAnswer answer;
  answer.address = ToText(server);
  const auto failure = WithServer(server, nullptr, nullptr, [&](const CommandContext& context) {
    auto failed = ReadInfo(context, &answer.info);
    Formatter::Vms vms;
    if (!failed) failed = ReadVms({}, context, &vms);
    answer.vms.assign(vms.begin(), vms.end());
    return failed;
  });
  if (failure) answer.failure = failure->sentence;
  return answer;
}

std::string TextOf(const Diagnosis& diagnosis, const CommandLine& line, const Terminal& terminal) {
  std::string text;
  switch (line.format) {
    case OutputFormat::kJson:
      for (const std::string& json : DiagnosisJson(diagnosis)) absl::StrAppend(&text, json, "\n");
      return text;
    case OutputFormat::kYaml:
      for (const std::string& json : DiagnosisJson(diagnosis)) {
        absl::StrAppend(&text, "---\n", YamlOfJson(json));
      }
      return text;
    case OutputFormat::kName:
      return DiagnosisNames(diagnosis);
    case OutputFormat::kTable:
    case OutputFormat::kWide:
      break;
  }
  constexpr size_t kLeastWidth = 40;
  constexpr size_t kUsualWidth = 80;
  const size_t columns = SizeOfTerminal(STDOUT_FILENO).columns;
  return DiagnosisText(diagnosis, columns == 0 ? kUsualWidth : std::max(columns, kLeastWidth),
                       HasColor(line, terminal));
}

ExitCode RunDoctor(const CommandLine& line, const Terminal& terminal, Output* output) {
  DaemonAnswer answer = AskDaemon(line.server());
  std::vector<WatchSpec> watches;
  if (!answer.reachable()) {
    auto configured = ConfiguredWatches();
    if (!configured.ok()) return Fail(configured.status());
    watches = *std::move(configured);
  }
  const auto facts = ReadNode(std::move(answer), watches, absl::SleepFor);
  if (!facts.ok()) return Fail(facts.status());
  const Diagnosis diagnosis = Diagnose(*facts);
  if (const auto failure = FromPrint(output->Write(TextOf(diagnosis, line, terminal)))) {
    return Fail(*failure);
  }
  return diagnosis.findings.empty() ? ExitCode::kOk : ExitCode::kFailed;
}

template <typename Command>
std::optional<Failure> RunFleetOf(const Command& command, const CommandLine& line,
                                  Formatter* formatter, Output* output, LateNotes* notes) {
  FleetContext context = FleetContextOf(line, formatter, output);
  context.note = [notes](const std::string& note) { notes->Add(note); };
  return RunFleet(command, context);
}

ExitCode Finish(const std::optional<Failure>& failure, LateNotes* notes) {
  if (!failure) return ExitCode::kOk;
  notes->Add(failure->sentence);
  return failure->code;
}

ExitCode RunCommandOf(const CommandLine& line, const Terminal& terminal, Formatter* formatter,
                      Output* output, LateNotes* notes) {
  const auto run = [&](const auto& command) -> ExitCode {
    using Command = std::decay_t<decltype(command)>;
    std::optional<Failure> failure;
    if constexpr (std::is_same_v<Command, FollowCommand>) {
      return RunFollow(command, line, formatter);
    } else if constexpr (std::is_same_v<Command, TopCommand>) {
      return RunTopOf(command, line, terminal, output);
    } else if constexpr (std::is_same_v<Command, DoctorCommand>) {
      return RunDoctor(line, terminal, output);
    } else if constexpr (std::is_same_v<Command, TimelineCommand>) {
      failure = RunTimelineOf(command, line, terminal, formatter, output);
    } else if constexpr (std::is_same_v<Command, ContextListCommand>) {
      failure = ListContexts(command.contexts, line);
    } else if constexpr (std::is_same_v<Command, ContextUseCommand>) {
      failure = UseContext(command);
    } else if constexpr (std::is_same_v<Command, FleetCommand>) {
      failure = RunFleetOf(command, line, formatter, output, notes);
    } else {
      if constexpr (std::is_same_v<Command, EventsCommand> || std::is_same_v<Command, VmsCommand> ||
                    std::is_same_v<Command, VmCommand>) {
        if (line.fleet) {
          return Finish(RunFleetOf(command, line, formatter, output, notes), notes);
        }
      }
      if constexpr (std::is_same_v<Command, EventsCommand> || std::is_same_v<Command, VmsCommand>) {
        if (line.servers.size() > 1) {
          return RunSeveral(command, line.servers, formatter, output, notes);
        }
      }
      failure = WithServer(
          line.server(), formatter, output,
          [&command](const CommandContext& context) { return RunCommand(command, context); });
    }
    return Finish(failure, notes);
  };
  return std::visit(run, line.command);
}

ExitCode RunLine(const CommandLine& line, const Terminal& terminal) {
  const auto formatter = MakeFormatter(line, terminal);
  LateNotes notes;
  std::unique_ptr<Pager> pager = MakePager(line, terminal);
  DescriptorOutput output(pager == nullptr ? STDOUT_FILENO : pager->descriptor());
  const ExitCode code = RunCommandOf(line, terminal, formatter.get(), &output, &notes);
  pager.reset();
  notes.Print();
  return code;
}

ExitCode PrintAnswer(const Answered& answered) {
  if (!answered.err.empty()) PrintNote(answered.err);
  DescriptorOutput output(STDOUT_FILENO);
  const absl::Status written = output.Write(answered.out);
  if (written.ok() || absl::IsCancelled(written)) return answered.code;
  return Fail(written);
}

}  // namespace

ExitCode Run(const std::vector<std::string>& arguments, const OptionContext& context,
             const Terminal& terminal) {
  auto parsed = ParseCommandLine(arguments, context);
  if (const auto* answered = std::get_if<Answered>(&parsed)) return PrintAnswer(*answered);
  return RunLine(std::get<CommandLine>(parsed), terminal);
}

}  // namespace vmeventd::client
