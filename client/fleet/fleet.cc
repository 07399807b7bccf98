#include "client/fleet/fleet.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <tuple>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "nlohmann/json.hpp"
#include "vmeventd/v1/fleet.pb.h"

namespace vmeventd::client {

std::string ToText(const NatsOptions& fleet) {
  return EscapeForTerminal(absl::StrJoin(fleet.servers, ","));
}

Failure ExplainFleetFailure(const std::string& servers, const absl::Status& status) {
  const std::string why = EscapeForTerminal(status.message());
  if (absl::IsUnavailable(status)) {
    return {ExitCode::kUnreachable,
            absl::StrContains(why, servers) ? why : absl::StrCat(servers, ": ", why)};
  }
  if (!absl::IsNotFound(status)) return {ExitCode::kFailed, why};
  return {ExitCode::kNotFound,
          absl::StrCat(servers, " has no stream or bucket of a fleet (", why,
                       "): create them by `vmevents fleet create`, unless these credentials are "
                       "of another account")};
}

std::string CreateRequest(const std::string& stream) {
  absl::string_view bucket = stream;
  const bool is_bucket = absl::ConsumePrefix(&bucket, BucketStream(""));
  const std::string subjects =
      is_bucket ? KeySubject(bucket, ">") : absl::StrCat(kSubjectPrefix, ".>");
  const nlohmann::json config = {{"name", stream},
                                 {"description", "Written by vmeventd"},
                                 {"subjects", {subjects}},
                                 {"retention", "limits"},
                                 {"storage", "file"},
                                 {"max_age", absl::ToInt64Nanoseconds(kStreamMaxAge)},
                                 {"discard", is_bucket ? "new" : "old"},
                                 {"deny_delete", true},
                                 {"deny_purge", true},
                                 // Those of NATS's own clients.
                                 {"max_msgs_per_subject", is_bucket ? 1 : -1},
                                 {"allow_direct", is_bucket}};
  return config.dump();
}

absl::StatusOr<std::string> CreateFleet(NatsConnection* connection,
                                        const FleetCreateCommand& command) {
  std::string lines;
  for (const std::string& stream :
       {std::string(kFleetStream), BucketStream(kVmsBucket), BucketStream(kNodesBucket)}) {
    absl::StatusOr<std::string> line =
        MakeStream(connection, stream, CreateRequest(stream), command.replicas);
    if (!line.ok()) return line;
    lines += *line;
  }
  return lines;
}

namespace {

// Returns a function for the messages that are not what vmeventd writes there: it counts them, and
// reports the first, the tenth, the hundredth and so on. `where` names the stream or bucket.
auto IgnoredIn(std::string where, const PrintSentence& note) {
  return [note, where = std::move(where), count = uint64_t{0}, next = uint64_t{1}](
             const NatsMessage& message, const absl::Status& why) mutable {
    if (++count < next) return;
    next *= 10;
    note(absl::StrCat("ignoring the message ", EscapeForTerminal(message.subject), " of the ",
                      where, ": ", EscapeForTerminal(why.message()), " (", Count(count, "message"),
                      " so far)"));
  };
}

}  // namespace

FleetEvents::FleetEvents(const PrintSentence& note)
    : ignore_(IgnoredIn(absl::StrCat("stream ", kFleetStream), note)) {}

bool FleetEvents::IsNew(const MessageNode& node, uint64_t sequence) {
  if (sequence == 0) return true;  // a GAP that no journal has
  const std::pair key(node.cluster, node.name);
  if (newest_.size() >= kMaxNodes && !newest_.contains(key)) return true;
  auto& [journal_id, newest] = newest_[key];
  if (std::exchange(journal_id, node.journal_id) != node.journal_id) newest = 0;
  return std::exchange(newest, std::max(newest, sequence)) < sequence;
}

std::optional<NodeEvent> FleetEvents::Parse(const StoredMessage& stored,
                                            const FleetFilter& filter) {
  NodeEvent event;
  absl::StatusOr<MessageNode> origin = ParseFleetMessage(stored.message, &event.event);
  if (!origin.ok()) {
    ignore_(stored.message, origin.status());
    return std::nullopt;
  }
  event.node = *std::move(origin);
  event.resume_after.position = {stored.stream_sequence, "", stored.time};
  if (!IsNew(event.node, event.event.sequence()) || !Passes(filter, event.node, event.event)) {
    return std::nullopt;
  }
  return event;
}

namespace {

// Limit of the servers' silence; beyond it, a read fails with UNAVAILABLE.
constexpr absl::Duration kPatience = absl::Seconds(5);

// Calls `take` with each message that the stream has of these subjects from `start` on, until it
// returns false. Later messages do not prolong the read.
template <typename Take>
absl::Status ReadStored(NatsConnection* connection, const std::string& stream,
                        const std::vector<std::string>& subjects, const ReadStart& start,
                        const FleetEnvironment& env, const Take& take) {
  const auto reader = StreamReader::Open(connection, stream, subjects, start, env.clock);
  if (!reader.ok()) return reader.status();
  for (uint64_t left = (*reader)->pending(); left > 0 && (*reader)->pending() > 0; --left) {
    auto next = (*reader)->Next(kPatience);
    if (!next.ok()) return next.status();
    if (!next->has_value()) {
      return absl::UnavailableError(absl::StrCat("nothing came from the stream ", stream, " for ",
                                                 absl::FormatDuration(kPatience)));
    }
    if (!take(**std::move(next))) break;
  }
  return absl::OkStatus();
}

// Calls `take` with the last value of each key that may pass the filter, and its node. Ignores what
// is no value of this node.
template <typename Value, typename Take>
absl::Status ReadBucket(NatsConnection* connection, absl::string_view bucket,
                        const FleetFilter& filter, const FleetEnvironment& env, const Take& take) {
  std::map<std::string, NatsMessage> last;  // keyed by subject
  absl::Status read = ReadStored(connection, BucketStream(bucket), {KeySubjects(bucket, filter)},
                                 LastOfEachSubject{}, env, [&last](StoredMessage stored) {
                                   last[stored.message.subject] = std::move(stored.message);
                                   return true;
                                 });
  if (!read.ok()) return read;
  auto ignore = IgnoredIn(absl::StrCat("bucket ", bucket), env.note);
  for (const auto& [subject, message] : last) {
    if (!message.header("KV-Operation").empty()) continue;  // the key was deleted
    Value value;
    absl::StatusOr<MessageNode> node = ParseFleetMessage(message, &value);
    if (!node.ok()) {
      ignore(message, node.status());
    } else if (PassesNode(filter, node->cluster, node->name)) {
      take(*std::move(node), std::move(value));
    }
  }
  return absl::OkStatus();
}

// Reports that two nodes have one name.
std::string SharedName(const v1::NodeHeartbeat& node) {
  return EscapeForTerminal(absl::StrCat("two nodes publish as ", node.cluster(), "/", node.node(),
                                        ", with the journals ", node.journal_id(), " and ",
                                        node.other_journal_id(),
                                        ": give one of them another name with vmeventd's --node"));
}

// The latest heartbeat of each node that passes the filter, by cluster and node. Errors as of
// ReadFleetVms().
using NodeKey = std::pair<std::string, std::string>;
absl::StatusOr<std::map<NodeKey, v1::NodeHeartbeat>> ReadFleetNodes(NatsConnection* connection,
                                                                    const FleetFilter& filter,
                                                                    const FleetEnvironment& env) {
  std::map<NodeKey, v1::NodeHeartbeat> nodes;
  absl::Status status =
      ReadBucket<v1::NodeHeartbeat>(connection, kNodesBucket, filter, env,
                                    [&](const MessageNode& origin, v1::NodeHeartbeat node) {
                                      // Its sender writes what it likes, but under its own key.
                                      node.set_cluster(origin.cluster);
                                      node.set_node(origin.name);
                                      if (!node.other_journal_id().empty())
                                        env.note(SharedName(node));
                                      nodes[{origin.cluster, origin.name}] = std::move(node);
                                    });
  if (!status.ok()) return status;
  return nodes;
}

}  // namespace

absl::StatusOr<NodeVms> ReadFleetVms(NatsConnection* connection, const FleetFilter& filter,
                                     const FleetEnvironment& env) {
  NodeVms vms;
  absl::Status status =
      ReadBucket<v1::Vm>(connection, kVmsBucket, filter, env, [&](MessageNode node, v1::Vm vm) {
        if (Passes(filter, node, vm.ref())) vms.push_back({std::move(vm), std::move(node)});
      });
  if (!status.ok()) return status;
  if (vms.empty()) return vms;
  absl::c_sort(vms, [](const NodeVm& a, const NodeVm& b) {
    return std::tie(a.vm.ref().name(), a.node.cluster, a.node.name) <
           std::tie(b.vm.ref().name(), b.node.cluster, b.node.name);
  });
  const auto nodes = ReadFleetNodes(connection, filter, env);
  if (absl::IsNotFound(nodes.status())) return vms;
  if (!nodes.ok()) return nodes.status();
  for (NodeVm& vm : vms) {
    if (vm.vm.state() == v1::VM_STATE_STOPPED) continue;  // final state
    // A node that has lost its journal does not know all of them any more. One without a heartbeat
    // may have died before its heartbeat was deleted.
    const auto node = nodes->find({vm.node.cluster, vm.node.name});
    if (node != nodes->end() && StateOf(node->second, env.now()) != NodeState::kUp) {
      vm.node.stale_since = FromProto(node->second.time());
    } else if (node == nodes->end() || node->second.journal_id() != vm.node.journal_id) {
      vm.node.stale_since = absl::InfinitePast();
    }
  }
  return vms;
}

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
  return ExplainFleetFailure(env.servers, status);
}

// Calls `take` with each event of the filter from `start` on, until it returns false.
absl::Status ReadStoredEvents(NatsConnection* connection, const FleetFilter& filter,
                              const ReadStart& start, const FleetEnvironment& env,
                              const std::function<bool(NodeEvent)>& take) {
  FleetEvents events(env.note);
  return ReadStored(connection, std::string(kFleetStream), EventSubjects(filter), start, env,
                    [&](const StoredMessage& stored) {
                      std::optional<NodeEvent> event = events.Parse(stored, filter);
                      return !event || take(*std::move(event));
                    });
}

ReadStart StartOf(const FleetFilter& filter) {
  return filter.since ? ReadStart(*filter.since - kMaxSkew) : uint64_t{1};
}

// The newest `count` events that were asked for, and the GAPs between them; the oldest first.
absl::StatusOr<std::deque<NodeEvent>> ReadNewest(NatsConnection* connection,
                                                 const FleetFilter& filter, uint64_t count,
                                                 const FleetEnvironment& env) {
  const absl::StatusOr<StreamState> state = ReadStreamState(connection, kFleetStream);
  if (!state.ok()) return state.status();
  const auto counts = [gaps = AsksForGaps(filter.events)](const NodeEvent& one) {
    return gaps || one.event.has_vm() ? 1U : 0U;
  };
  for (uint64_t window = std::max(kFirstWindow, 2 * count);; window *= kWindowGrowth) {
    const bool whole = filter.since || state->last < state->first + window;
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
  const FleetFilter filter = {command.filter, env_.nodes, command.since, command.until};
  return WithFleet(env_, [&](NatsConnection* connection) {
    if (!command.reads_newest_first()) {
      return ReadStoredEvents(connection, filter, StartOf(filter), env_, take);
    }
    const bool limited = command.last || command.limit;
    absl::StatusOr<std::deque<NodeEvent>> newest =
        ReadNewest(connection, filter, limited ? command.most() : kMaxEvents, env_);
    if (!newest.ok()) return newest.status();
    if (!limited && newest->size() >= kMaxEvents) {
      env_.note(absl::StrCat("only the newest ", kMaxEvents,
                             " events are shown; see more with --since and --until"));
    }
    while (!newest->empty() && take(std::move(newest->back()))) newest->pop_back();
    return absl::OkStatus();
  });
}

std::optional<Failure> FleetLists::ReadVms(const v1::EventFilter& vm_filter, bool stopped_too,
                                           NodeVms* vms) {
  const FleetFilter filter = {.events = vm_filter, .nodes = env_.nodes};
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
  std::map<NodeKey, NodeReport*> by_key;
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
                       ", since ", DurationText(env_.now() - FromProto(node.time())));
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
  ends.filter.add_types(v1::EVENT_TYPE_STOPPED);
  ends.since = question.since;
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
