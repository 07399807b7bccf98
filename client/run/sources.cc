#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <map>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/commands/daemon_source.h"
#include "client/commands/merged.h"
#include "client/consume/exec.h"
#include "client/fleet/fleet.h"
#include "client/output/time_text.h"
#include "client/run/run.h"

namespace vmeventd::client {
namespace {

// Patience for a node's name, which is not worth more.
constexpr absl::Duration kNameWait = absl::Seconds(2);

// The lists of one daemon, with a connection for each.
class ServerLists : public ListSource {
 public:
  explicit ServerLists(ServerAddress server) : server_(std::move(server)) {}
  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override {
    return WithServer(server_, nullptr, nullptr, [&](const CommandContext& context) {
      return DaemonLists(context).ReadEvents(command, take);
    });
  }
  std::optional<Failure> ReadVms(const VmsCommand& command, NodeVms* vms) override {
    return WithServer(server_, nullptr, nullptr, [&](const CommandContext& context) {
      return DaemonLists(context).ReadVms(command, vms);
    });
  }

 private:
  const ServerAddress server_;
};

// Returns the name of each of several servers: the name of its node, or its address where it does
// report one in time, or one that another has too. Asks all at once.
std::vector<std::string> NodeNames(const std::vector<ServerAddress>& servers) {
  std::vector<std::string> names(servers.size());
  std::vector<std::thread> askers;
  for (size_t i = 0; i < servers.size(); ++i) {
    askers.emplace_back([&server = servers[i], &name = names[i]] {
      const auto channel = Connect(server);
      if (!channel.ok()) return;
      grpc::ClientContext call;
      SetRequestDeadline(&call, kNameWait);
      v1::GetServerInfoResponse info;
      const auto stub = v1::VmEventService::NewStub(*channel);
      if (stub->GetServerInfo(&call, {}, &info).ok()) name = info.node();
    });
  }
  for (std::thread& asker : askers) asker.join();
  std::map<std::string, int> servers_of;
  for (const std::string& name : names) ++servers_of[name];
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty() || servers_of[names[i]] > 1) names[i] = NodeName(servers[i]);
  }
  return names;
}

}  // namespace

std::optional<Failure> WithServer(
    const ServerAddress& server, Formatter* formatter, Output* output,
    const std::function<std::optional<Failure>(const CommandContext&)>& ask) {
  const absl::StatusOr<PinnedChannel> connected = ConnectToOne(server, ResolveHost);
  if (!connected.ok()) return ExplainNoChannel(server, connected.status());
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

FleetEnvironment FleetOf(const CommandLine& line, PrintSentence note) {
  return {[fleet = *line.fleet] { return ConnectNats(fleet); }, ToText(*line.fleet), line.nodes,
          std::move(note)};
}

std::unique_ptr<ListSource> ListsOf(const CommandLine& line, PrintSentence note) {
  if (line.fleet) return std::make_unique<FleetLists>(FleetOf(line, std::move(note)));
  if (line.servers.size() == 1) return std::make_unique<ServerLists>(line.server());
  const std::vector<std::string> names = NodeNames(line.servers);
  std::vector<MergedLists::Node> nodes;
  for (size_t i = 0; i < names.size(); ++i) {
    nodes.push_back({names[i], std::make_unique<ServerLists>(line.servers[i])});
  }
  return std::make_unique<MergedLists>(std::move(nodes), std::move(note));
}

namespace {

std::unique_ptr<EventConsumer> MakeConsumer(const FollowCommand& command, const std::string& server,
                                            Formatter* formatter, Output* output,
                                            StopSource* stop) {
  if (command.exec.empty()) return std::make_unique<Printer>(formatter, output);
  CommandRunner::Environment environment;
  environment.command = command.exec;
  environment.on_failure = command.on_failure;
  environment.gaps = command.gaps;
  environment.node = server;
  environment.run = [stop](const CommandCall& call) { return RunCommandCall(call, stop->token()); };
  environment.wait = [stop](absl::Duration duration) { return stop->WaitFor(duration); };
  environment.note = PrintNote;
  return std::make_unique<CommandRunner>(std::move(environment));
}

// Sets where the watch of each server begins: with --last, of several servers at the time of the
// last of the newest events of all. A server that does not answer has the failure, and begins now:
// its history is not worth more than that of the others.
void SetStarts(const FollowCommand& command, const std::vector<ServerAddress>& servers,
               const PositionOf& position_of, std::vector<WatchCommand>* watches,
               std::vector<std::optional<Failure>>* failures) {
  failures->resize(servers.size());
  EventsCommand list;
  list.filter = command.watch.filter;
  if (const auto* from = std::get_if<FromTime>(&command.watch.start)) list.since = from->time;
  list.last = command.last;
  NodeEvents newest;
  std::vector<WatchCommand*> listed;
  for (size_t i = 0; i < servers.size(); ++i) {
    WatchCommand* const watch = &(*watches)[i];
    if (const auto position = position_of(ToText(servers[i]))) {
      watch->start = *position;
      continue;
    }
    if (!command.last) continue;
    (*failures)[i] = ServerLists(servers[i]).ReadEvents(list, [&newest](NodeEvents* page) {
      Append(page, &newest);
      return true;
    });
    if ((*failures)[i]) {
      watch->start = FromNow{};
    } else {
      listed.push_back(watch);
    }
  }
  // Fewer events are all that there are: the start of each watch stays as it is.
  if (!command.last || newest.size() < *command.last) return;
  const auto last = newest.begin() + static_cast<std::ptrdiff_t>(*command.last) - 1;
  const auto time = [](const NodeEvent& one) { return FromProto(one.event.observe_time()); };
  if (servers.size() > 1) {
    std::nth_element(newest.begin(), last, newest.end(),
                     [&time](const NodeEvent& a, const NodeEvent& b) { return time(a) > time(b); });
  }
  for (WatchCommand* watch : listed) {
    watch->start = FromTime{time(*last)};
    if (servers.size() == 1) watch->start = FromSequence{last->event.sequence() - 1, ""};
  }
}

MadeSource MakeOfServers(const FollowCommand& command, const std::vector<ServerAddress>& servers,
                         const PositionOf& position_of, StopSource* stop,
                         const PrintSentence& note) {
  std::vector<WatchCommand> watches(servers.size(), command.watch);
  std::vector<std::optional<Failure>> failures;
  SetStarts(command, servers, position_of, &watches, &failures);
  if (servers.size() == 1) {
    if (failures[0]) return *failures[0];
    return std::make_unique<DaemonSource>(
        std::move(watches[0]),
        DaemonSource::Environment{.address = servers[0], .stop = stop, .note = note});
  }
  const std::vector<std::string> names = NodeNames(servers);
  std::vector<WatchedNode> nodes;
  for (size_t i = 0; i < servers.size(); ++i) {
    if (failures[i]) note(failures[i]->sentence);
    watches[i].wait = watches[i].resume;  // a node that is down does not end the watch
    nodes.push_back({names[i], std::move(watches[i]), servers[i]});
  }
  return std::make_unique<MergedSource>(std::move(nodes), MergedSource::Environment{stop, note});
}

MadeSource MakeFleet(const FollowCommand& command, const CommandLine& line,
                     const PositionOf& position_of, StopSource* stop, const PrintSentence& note) {
  WatchCommand watch = command.watch;
  const auto position = position_of(kFleetCursorKey);
  if (position) {
    watch.start = *position;
  } else if (command.last) {
    FleetFilter filter = {watch.filter, line.nodes, std::nullopt, std::nullopt};
    if (const auto* from = std::get_if<FromTime>(&watch.start)) filter.since = from->time;
    const FleetLists lists(FleetOf(line, note));
    const auto failure = lists.FindStart(filter, *command.last, &watch.start);
    if (failure) return *failure;
  }
  return WatchFleet(std::move(watch), {FleetOf(line, note), stop});
}

}  // namespace

std::vector<std::string> CursorKeys(const CommandLine& line) {
  if (line.fleet) return {kFleetCursorKey};
  std::vector<std::string> keys;
  for (const ServerAddress& server : line.servers) keys.push_back(ToText(server));
  return keys;
}

PositionOf PositionsIn(const CursorFile* cursor) {
  return [cursor](const std::string& key) {
    return cursor == nullptr ? std::nullopt : cursor->Find(key);
  };
}

MadeSource MakeSource(const FollowCommand& command, const CommandLine& line,
                      const PositionOf& position_of, StopSource* stop, const PrintSentence& note) {
  if (line.fleet) return MakeFleet(command, line, position_of, stop, note);
  return MakeOfServers(command, line.servers, position_of, stop, note);
}

ExitCode RunFollow(const FollowCommand& command, const CommandLine& line, Formatter* formatter) {
  StopSource stop;
  // Runs before anything that may start a thread.
  const auto signals = StopSignals::Create(&stop, STDOUT_FILENO);
  if (!signals.ok()) return Fail(signals.status());
  Delivery::Options options = {
      .servers = CursorKeys(line), .count = command.count, .counts_gaps = command.gaps};
  std::unique_ptr<CursorFile> cursor;
  if (!command.cursor_file.empty()) {
    auto opened = CursorFile::Open(command.cursor_file, options.servers);
    if (!opened.ok()) return Fail(opened.status());
    cursor = *std::move(opened);
  }
  DescriptorOutput output(STDOUT_FILENO);
  const std::string node = line.fleet ? "" : NodeName(line.server());
  const auto consumer = MakeConsumer(command, node, formatter, &output, &stop);
  const MadeSource source = MakeSource(command, line, PositionsIn(cursor.get()), &stop, PrintNote);
  if (const auto* failure = std::get_if<Failure>(&source)) return Fail(*failure);
  options.consumer = consumer.get();
  options.cursor = cursor.get();
  Delivery delivery(std::move(options));
  std::atomic<bool> timed_out = false;
  std::thread timer;
  if (command.timeout) {
    timer = std::thread([&] {
      timed_out = !stop.WaitFor(*command.timeout);
      stop.Stop();
    });
  }
  const ExitCode code = std::get<std::unique_ptr<Source>>(source)->Run(&delivery);
  stop.Stop();
  if (timer.joinable()) timer.join();
  const ExitCode result = delivery.CodeOf(code, PrintNote);
  if (!timed_out || result != ExitCode::kInterrupted) return result;
  const uint64_t count = *command.count;
  PrintNote(absl::StrCat(
      "--timeout: ", count == 1 ? "no event" : absl::StrCat("fewer than ", count, " events"),
      " came within ", DurationText(*command.timeout)));
  return ExitCode::kFailed;
}

}  // namespace vmeventd::client
