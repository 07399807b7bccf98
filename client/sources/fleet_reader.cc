#include "client/sources/fleet_reader.h"

#include <algorithm>
#include <cstdint>
#include <tuple>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_message.h"
#include "client/output/node_state.h"
#include "client/output/terminal_text.h"
#include "client/sources/ignored_messages.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

// Limit of the servers' silence; beyond it, a read fails with UNAVAILABLE.
constexpr absl::Duration kPatience = absl::Seconds(5);

// Calls `take` with the last value of each key that may pass the filter, and its node. Ignores
// values that are not from the key's node.
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
  const FleetMatcher matcher(filter);
  auto ignore = IgnoredIn(absl::StrCat("bucket ", bucket), env.note);
  for (const auto& [subject, message] : last) {
    if (!message.header("KV-Operation").empty()) continue;  // the key was deleted
    Value value;
    absl::StatusOr<MessageNode> node = ParseFleetMessage(message, &value);
    if (!node.ok()) {
      ignore(message, node.status());
    } else if (matcher.PassesNode(node->cluster, node->name)) {
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

}  // namespace

absl::Status ReadStored(NatsConnection* connection, const std::string& stream,
                        const std::vector<std::string>& subjects, const ReadStart& start,
                        const FleetEnvironment& env,
                        const std::function<bool(StoredMessage)>& take) {
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

absl::StatusOr<FleetNodes> ReadFleetNodes(NatsConnection* connection, const FleetFilter& filter,
                                          const FleetEnvironment& env) {
  FleetNodes nodes;
  absl::Status status =
      ReadBucket<v1::NodeHeartbeat>(connection, kNodesBucket, filter, env,
                                    [&](const MessageNode& origin, v1::NodeHeartbeat node) {
                                      // The sender may write any node into the value, but only
                                      // under its own key.
                                      node.set_cluster(origin.cluster);
                                      node.set_node(origin.name);
                                      if (!node.other_journal_id().empty())
                                        env.note(SharedName(node));
                                      nodes[{origin.cluster, origin.name}] = std::move(node);
                                    });
  if (!status.ok()) return status;
  return nodes;
}

absl::StatusOr<NodeVms> ReadFleetVms(NatsConnection* connection, const FleetFilter& filter,
                                     const FleetEnvironment& env) {
  NodeVms vms;
  const FleetMatcher matcher(filter);
  absl::Status status =
      ReadBucket<v1::Vm>(connection, kVmsBucket, filter, env, [&](MessageNode node, v1::Vm vm) {
        if (matcher.Passes(node, vm.ref())) vms.push_back({std::move(vm), std::move(node)});
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
      vm.node.stale_since = FromTimestamp(node->second.time());
    } else if (node == nodes->end() || node->second.journal_id() != vm.node.journal_id) {
      vm.node.stale_since = absl::InfinitePast();
    }
  }
  return vms;
}

}  // namespace vmeventd::client
