#include "client/sources/fleet_lists.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/fleet/clock_skew.h"
#include "client/fleet/fleet_failure.h"
#include "client/fleet/fleet_filter.h"
#include "client/fleet/fleet_subjects.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"
#include "client/nats/stream_reader.h"
#include "client/output/node_state.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/sources/fleet_events.h"
#include "client/sources/fleet_reader.h"
#include "vmeventd/v1/fleet.pb.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

// Messages that are read first to find the newest events; if too few match, more are read.
constexpr uint64_t kFirstWindow = 10'000;

constexpr uint64_t kWindowGrowth = 8;

// Runs `ask` with a connection.
template <typename Ask>
std::optional<Failure> WithFleet(const FleetEnvironment& env, const Ask& ask) {
  const auto connection = env.connect();
  absl::Status status = connection.status();
  if (status.ok()) status = ask(connection->get());
  if (status.ok()) return std::nullopt;
  return ExplainFleetFailure(env.servers, env.invocation, status);
}

// Calls `take` with each event of the filter from `start` on, until it returns false.
absl::Status ReadStoredEvents(NatsConnection* connection, const FleetFilter& filter,
                              const ReadStart& start, const FleetEnvironment& env,
                              const std::function<bool(NodeEvent)>& take) {
  FleetEvents events(env.note);
  const FleetMatcher matcher(filter);
  return ReadStored(connection, std::string(kFleetStream), EventSubjects(filter), start, env,
                    [&](const StoredMessage& stored) {
                      std::optional<NodeEvent> event = events.Parse(stored, matcher);
                      return !event || take(*std::move(event));
                    });
}

ReadStart StartOf(const FleetFilter& filter) {
  if (!filter.list.has_start_time()) return uint64_t{1};
  return FromTimestamp(filter.list.start_time()) - kMaxSkew;
}

// The newest `count` events that were asked for, and the GAPs between them; the oldest first.
absl::StatusOr<std::deque<NodeEvent>> ReadNewest(NatsConnection* connection,
                                                 const FleetFilter& filter,
                                                 const EventsCommand& command, uint64_t count,
                                                 const FleetEnvironment& env) {
  const absl::StatusOr<StreamState> state = ReadStreamState(connection, kFleetStream);
  if (!state.ok()) return state.status();
  const auto counts = [&command](const NodeEvent& one) { return command.counts(one) ? 1U : 0U; };
  for (uint64_t window = std::max(kFirstWindow, 2 * count);; window *= kWindowGrowth) {
    const bool whole = filter.list.has_start_time() || state->last < state->first + window;
    const ReadStart start = whole ? StartOf(filter) : ReadStart(state->last + 1 - window);
    std::deque<NodeEvent> newest;
    uint64_t counted = 0;
    absl::Status status = ReadStoredEvents(connection, filter, start, env, [&](NodeEvent event) {
      counted += counts(event);
      newest.push_back(std::move(event));
      for (; counted > count; newest.pop_front()) counted -= counts(newest.front());
      return true;
    });
    if (!status.ok()) return status;
    if (whole || counted == count) return newest;
  }
}

}  // namespace

std::optional<Failure> FleetLists::ReadEvents(const EventsCommand& command, const Take& take) {
  const FleetFilter filter = {command.request, env_.nodes};
  return WithFleet(env_, [&](NatsConnection* connection) {
    if (!command.reads_newest_first()) {
      return ReadStoredEvents(connection, filter, StartOf(filter), env_, take);
    }
    const bool limited = command.last || command.limit;
    absl::StatusOr<std::deque<NodeEvent>> newest = ReadNewest(
        connection, filter, command, limited ? command.max_events() : kMaxNewestFirst, env_);
    if (!newest.ok()) return newest.status();
    if (!limited && newest->size() >= kMaxNewestFirst) {
      env_.note(absl::StrCat("only the newest ", kMaxNewestFirst,
                             " events are shown; see more with --since and --until"));
    }
    while (!newest->empty() && take(std::move(newest->back()))) newest->pop_back();
    return absl::OkStatus();
  });
}

std::optional<Failure> FleetLists::ReadVms(const v1::EventFilter& vm_filter, bool stopped_too,
                                           NodeVms* vms) {
  const FleetFilter filter = FilterOf(vm_filter, env_.nodes);
  return WithFleet(env_, [&](NatsConnection* connection) {
    absl::StatusOr<NodeVms> all = ReadFleetVms(connection, filter, env_);
    if (!all.ok()) return all.status();
    absl::c_copy_if(*all, std::back_inserter(*vms), [stopped_too](const NodeVm& one) {
      return stopped_too || one.vm.state() != v1::VM_STATE_STOPPED;
    });
    return absl::OkStatus();
  });
}

std::optional<Failure> FleetLists::CountEvents(const StatsCommand& /*command*/,
                                               absl::TimeZone /*zone*/, NodeCounts* /*counts*/) {
  return Failure{ExitCode::kUsage, "stats: vmeventd counts; name its nodes with --server HOST"};
}

std::optional<Failure> FleetLists::ReadReports(const ReportQuestion& question,
                                               NodeReports* reports) {
  Formatter::Heartbeats nodes;
  NodeVms vms;
  if (auto failure = ReadNodes(&nodes)) return failure;
  if (auto failure = ReadVms({}, /*stopped_too=*/false, &vms)) return failure;
  std::map<std::pair<std::string, std::string>, NodeReport*> by_key;  // its cluster and name
  reports->reserve(reports->size() + static_cast<size_t>(nodes.size()));
  std::vector<std::string> silent;
  for (const v1::NodeHeartbeat& node : nodes) {
    NodeReport& report = reports->emplace_back();
    report.node = {.name = node.node(), .cluster = node.cluster(), .journal_id = node.journal_id()};
    report.lag = LagOf(node);
    report.info.set_node(node.node());
    report.info.set_version(node.version());
    report.info.set_journal_id(node.journal_id());
    report.info.set_newest_sequence(node.newest_sequence());
    report.info.set_vms(static_cast<int32_t>(node.vms()));
    const NodeState state = StateOf(node, env_.now());
    if (state != NodeState::kUp) {
      const std::string name = EscapeForTerminal(absl::StrCat(node.cluster(), "/", node.node()));
      report.problem =
          absl::StrCat(name, state == NodeState::kStopped ? " publishes no more" : " is silent",
                       ", since ", DurationText(env_.now() - FromTimestamp(node.time())));
      silent.push_back(report.problem);
    }
    by_key[{node.cluster(), node.node()}] = &report;
  }
  const auto report_of = [&by_key](const MessageNode& node) {
    const auto found = by_key.find({node.cluster, node.name});
    return found == by_key.end() ? nullptr : found->second;
  };
  for (NodeVm& vm : vms) {
    NodeReport* const report = report_of(vm.node);
    if (report != nullptr) report->vms.push_back(std::move(vm));
  }
  EventsCommand ends;
  ends.request.mutable_filter()->add_types(v1::EVENT_TYPE_STOPPED);
  ends.SetTimes(question.since, std::nullopt);
  auto failure = ReadEvents(ends, [&](NodeEvent one) {
    NodeReport* const report = report_of(one.node);
    const bool is_end = one.event.type() == v1::EVENT_TYPE_STOPPED;  // a GAP passes every filter
    if (report != nullptr && is_end) report->ends.push_back(std::move(one));
    return true;
  });
  for (NodeReport& report : *reports) absl::c_reverse(report.ends);
  if (failure || silent.empty()) return failure;
  return Failure{ExitCode::kUnreachable, absl::StrJoin(silent, "; ")};
}

std::optional<Failure> FleetLists::ReadNodes(Formatter::Heartbeats* nodes) const {
  return WithFleet(env_, [&](NatsConnection* connection) {
    auto all = ReadFleetNodes(connection, {.nodes = env_.nodes}, env_);
    if (!all.ok()) return all.status();
    for (auto& [key, node] : *all) *nodes->Add() = std::move(node);
    return absl::OkStatus();
  });
}

}  // namespace vmeventd::client
