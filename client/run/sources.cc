#include <poll.h>
#include <unistd.h>

#include <cstddef>
#include <future>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/commands/names.h"
#include "client/consume/exec.h"
#include "client/fleet/fleet.h"
#include "client/output/time_text.h"
#include "client/run/run.h"
#include "client/sources/daemon_lists.h"
#include "client/sources/daemon_source.h"
#include "client/sources/merged_lists.h"
#include "client/sources/merged_source.h"

namespace vmeventd::client {
namespace {

// Patience for a node's name, which is not worth more.
constexpr absl::Duration kNameWait = absl::Seconds(2);

}  // namespace

std::vector<DaemonNode> NodesOf(const CommandLine& line, bool named) {
  std::vector<DaemonNode> nodes;
  for (const ServerAddress& server : line.servers) nodes.emplace_back(server);
  if (nodes.size() == 1 && !named) return nodes;
  AskAll(nodes.size(), [&nodes](size_t i) {
    DaemonNode& node = nodes[i];
    if (!node.connected.ok()) return;
    grpc::ClientContext call;
    // A login takes longer than a connection.
    SetRequestDeadline(&call, node.address.is_ssh() ? kRequestTimeout : kNameWait);
    v1::GetServerInfoResponse info;
    (void)node.stub->GetServerInfo(&call, {}, &info);
    node.name = info.node();
  });
  std::map<std::string, int> servers_of;
  for (const DaemonNode& node : nodes) ++servers_of[node.name];
  for (DaemonNode& node : nodes) {
    if (node.name.empty() || servers_of[node.name] > 1) node.name = NodeName(node.address);
  }
  return nodes;
}

FleetEnvironment FleetOf(const CommandLine& line, PrintSentence note) {
  return {[fleet = *line.fleet] { return ConnectNats(fleet); }, ToText(*line.fleet), line.nodes,
          std::move(note)};
}

std::string Where(const CommandLine& line) {
  if (line.fleet) return " in the fleet";
  if (line.servers.size() > 1) return absl::StrCat(" on the ", line.servers.size(), " servers");
  return absl::StrCat(" to vmeventd at ", ToText(line.server()));
}

std::unique_ptr<ListSource> ListsOf(const CommandLine& line, PrintSentence note,
                                    std::vector<std::string>* names) {
  if (line.fleet && names != nullptr) names->push_back(ToText(*line.fleet));
  if (line.fleet) return std::make_unique<FleetLists>(FleetOf(line, std::move(note)));
  // Programs get the node's name also of one daemon.
  std::vector<DaemonNode> daemons = NodesOf(line, /*named=*/line.is_json());
  for (const DaemonNode& daemon : daemons) {
    if (names != nullptr) names->push_back(daemon.name);
  }
  if (daemons.front().name.empty()) {
    return std::make_unique<DaemonLists>(std::move(daemons.front()));
  }
  std::vector<NodeLists> nodes;
  for (DaemonNode& daemon : daemons) {
    std::string name = daemon.name;
    nodes.push_back({std::move(name), std::make_unique<DaemonLists>(std::move(daemon))});
  }
  return MergeLists(std::move(nodes), std::move(note));
}

std::optional<Failure> SetStart(const CommandLine& line, const CursorFile::Positions& positions,
                                FollowCommand* command) {
  CommandLine asked = line;
  std::erase_if(asked.servers, [&](const auto& one) { return positions.contains(ToText(one)); });
  if (line.fleet ? positions.contains(kFleetCursorKey) : asked.servers.empty()) return std::nullopt;
  const bool alone = asked.servers.size() <= 1;
  EventsCommand list;
  list.filter = command->watch.filter;
  if (const auto* from = std::get_if<FromTime>(&command->watch.start)) list.since = from->time;
  list.last = command->last;
  std::optional<NodeEvent> oldest;
  uint64_t read = 0;
  auto failure = ListsOf(asked, PrintNote)->ReadEvents(list, [&](NodeEvent event) {
    if (list.counts(event)) ++read;
    oldest = std::move(event);
    return read < *list.last;
  });
  if (failure && alone) return failure;
  if (failure) PrintNote(failure->sentence);
  // Fewer events are all that there are: the start stays as it is.
  if (!failure && read < *command->last) return std::nullopt;
  if (!oldest) {
    command->watch.start = FromNow{};
  } else if (alone) {
    const uint64_t sequence =
        line.fleet ? oldest->resume_after.position.sequence : oldest->event.sequence();
    command->watch.start = FromSequence{sequence - 1, ""};
  } else {
    command->watch.start = FromTime{FromProto(oldest->event.observe_time())};
  }
  return std::nullopt;
}

std::vector<std::string> CursorKeys(const CommandLine& line) {
  if (line.fleet) return {kFleetCursorKey};
  std::vector<std::string> keys;
  for (const ServerAddress& server : line.servers) keys.push_back(ToText(server));
  return keys;
}

std::unique_ptr<Source> MakeSource(const FollowCommand& command, const CommandLine& line,
                                   const CursorFile::Positions& positions, StopSource* stop,
                                   const PrintSentence& note) {
  const std::vector<std::string> keys = CursorKeys(line);
  std::vector<WatchCommand> watches(keys.size(), command.watch);
  if (keys.size() == 1) watches[0].named = line.is_json() || !command.exec.empty();
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto position = positions.find(keys[i]);
    if (position != positions.end()) watches[i].start = position->second;
  }
  if (line.fleet) {
    return WatchFleet(std::move(watches[0]), FleetOf(line, note), {stop, note});
  }
  if (watches.size() == 1) {
    return WatchDaemon(std::move(watches[0]), line.server(), {stop, note});
  }
  const std::vector<DaemonNode> daemons = NodesOf(line);
  std::vector<WatchedNode> nodes;
  for (size_t i = 0; i < watches.size(); ++i) {
    watches[i].wait = true;  // a node that is down does not end the watch
    nodes.push_back({daemons[i].name, std::move(watches[i]), line.servers[i]});
  }
  return WatchNodes(std::move(nodes), stop, note);
}

ExitCode RunFollow(FollowCommand command, const CommandLine& line, Formatter* formatter) {
  // Runs before anything that may start a thread.
  StopSource& stop = StopBySignals(STDOUT_FILENO);
  v1::EventFilter& filter = command.watch.filter;
  if (!filter.vm_names().empty() && !command.watch.wait) {
    const auto lists = ListsOf(line, [](const std::string& /*sentence*/) {});
    auto unknown = TakeUuids(lists.get(), &filter);
    if (!unknown) unknown = CheckNames(filter, Where(line), lists.get());
    if (unknown && unknown->code == ExitCode::kUsage) return Fail(*unknown);
    // The watch explains every other failure.
    if (unknown && unknown->code == ExitCode::kNotFound) {
      PrintNote(absl::StrCat(unknown->sentence, " (waiting for it)"));
    }
  }
  const bool gaps = command.asks_for_gaps();
  Delivery::Options options = {
      .servers = CursorKeys(line), .count = command.count, .counts_gaps = gaps};
  std::unique_ptr<CursorFile> cursor;
  if (!command.cursor_file.empty()) {
    auto opened = CursorFile::Open(command.cursor_file, options.servers);
    if (!opened.ok()) return Fail(opened.status());
    cursor = *std::move(opened);
  }
  const CursorFile::Positions positions = cursor ? cursor->positions() : CursorFile::Positions();
  if (command.last) {
    if (const auto failure = SetStart(line, positions, &command)) return Fail(*failure);
  }
  DescriptorOutput output(STDOUT_FILENO);
  Printer printer(formatter, &output);
  CommandRunner runner({command.exec, command.on_failure, gaps,
                        [&](const CommandCall& call) { return RunCommandCall(call, stop.token()); },
                        [&](absl::Duration duration) { return stop.WaitFor(duration); },
                        PrintNote});
  const auto source = MakeSource(command, line, positions, &stop, PrintNote);
  options.consumer = command.exec.empty() ? static_cast<EventConsumer*>(&printer) : &runner;
  options.cursor = cursor.get();
  Delivery delivery(std::move(options));
  auto timed_out = std::async(std::launch::async, [&] {
    const bool over = command.timeout && !stop.WaitFor(*command.timeout);
    if (over) stop.Stop();
    return over;
  });
  const ExitCode code = delivery.Run(source.get(), PrintNote);
  stop.Stop();
  // A reader that has had enough is no interruption.
  pollfd reader = {STDOUT_FILENO, 0, 0};
  if (code == ExitCode::kInterrupted && poll(&reader, 1, 0) > 0) return ExitCode::kOk;
  if (!timed_out.get() || code != ExitCode::kInterrupted) return code;
  PrintNote(absl::StrCat("--timeout: fewer than ", Count(*command.count, "event"),
                         " came and were handled within ", DurationText(*command.timeout)));
  return ExitCode::kFailed;
}

}  // namespace vmeventd::client
