#include "client/fleet/fleet_reader.h"

#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "client/nats/jetstream_api.h"
#include "client/nats/stream_reader.h"
#include "client/nats/subject.h"
#include "client/output/formatter.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {

void LeftOut::Add(const NatsMessage& message, const absl::Status& why) {
  if (++count_ < next_note_) return;
  next_note_ *= 10;
  note_(absl::StrCat("the message ", EscapeForTerminal(message.subject()), " of the ", where_,
                     " is left out: ", EscapeForTerminal(why.message()), " (", count_,
                     count_ == 1 ? " message" : " messages", " so far)"));
}

bool Repeats::IsNew(const MessageNode& node, uint64_t sequence) {
  if (sequence == 0) return true;  // a GAP that no journal has
  const std::pair key(node.cluster, node.name);
  if (nodes_.size() >= kMaxNodes && !nodes_.contains(key)) return true;
  Known& known = nodes_[key];
  if (known.journal_id != node.journal_id) known = {node.journal_id, sequence, {}};
  if (sequence > known.newest) {
    const uint64_t more = sequence - known.newest;
    known.seen = more < kWindow ? known.seen << more : std::bitset<kWindow>();
    known.newest = sequence;
  }
  const uint64_t age = known.newest - sequence;
  if (age >= kWindow || known.seen[age]) return false;
  known.seen[age] = true;
  return true;
}

FleetEventReader::FleetEventReader(std::unique_ptr<StreamReader> reader, const FleetFilter& filter,
                                   Environment environment)
    : reader_(std::move(reader)),
      matcher_(filter),
      env_(std::move(environment)),
      left_out_(env_.note, absl::StrCat("stream ", kFleetStream)) {}

absl::StatusOr<std::unique_ptr<FleetEventReader>> FleetEventReader::Open(NatsConnection* connection,
                                                                         const FleetFilter& filter,
                                                                         const ReadStart& start,
                                                                         Environment environment) {
  auto reader = StreamReader::Open(connection, std::string(kFleetStream), EventSubjects(filter),
                                   start, environment.clock);
  if (!reader.ok()) return reader.status();
  return absl::WrapUnique(new FleetEventReader(*std::move(reader), filter, std::move(environment)));
}

absl::StatusOr<std::optional<FleetEventReader::Item>> FleetEventReader::Next(
    absl::Duration timeout) {
  auto next = reader_->Next(timeout);
  if (!next.ok()) return next.status();
  if (!next->has_value()) return std::nullopt;
  const NatsMessage& message = *(*next)->message;
  Item item{(*next)->stream_sequence, (*next)->time, std::nullopt};
  NodeEvent event;
  absl::StatusOr<MessageNode> origin = ParseFleetMessage(message, &event.event);
  if (!origin.ok()) {
    left_out_.Add(message, origin.status());
    return item;
  }
  event.node = *std::move(origin);
  const bool repeated =
      env_.repeats != nullptr && !env_.repeats->IsNew(event.node, event.event.sequence());
  if (!repeated && matcher_.Matches(event.node, event.event)) item.event = std::move(event);
  return item;
}

namespace {

// Calls `take` with the last value of each key, and its node; what is no value of this node, or is
// refused by `take`, is left out.
template <typename Value, typename Take>
absl::Status ReadBucket(NatsConnection* connection, absl::string_view bucket,
                        const std::vector<std::string>& subjects,
                        const FleetEventReader::Environment& environment, const Take& take) {
  std::map<std::string, NatsMessagePtr> last;  // keyed by subject
  // Servers before 2.10 know one subject for each consumer, and need one for the last messages.
  for (const std::string& one : subjects) {
    const auto reader = StreamReader::Open(connection, BucketStream(bucket), {one},
                                           LastOfEachSubject{}, environment.clock);
    if (!reader.ok()) return reader.status();
    // Stops at the number that was pending: later writes could prolong the read without end.
    for (uint64_t left = (*reader)->pending(); left > 0 && (*reader)->pending() > 0; --left) {
      auto next = (*reader)->Next(kPatience);
      if (!next.ok()) return next.status();
      if (!next->has_value()) {
        return absl::UnavailableError(absl::StrCat("nothing came from the bucket ", bucket, " for ",
                                                   absl::FormatDuration(kPatience)));
      }
      NatsMessagePtr message = std::move((*next)->message);
      const std::string subject(message->subject());
      if (message->header(kKeyOperationHeader).empty()) {
        last[subject] = std::move(message);
      } else {
        last.erase(subject);  // the key was deleted
      }
    }
  }
  LeftOut left_out(environment.note, absl::StrCat("bucket ", bucket));
  for (const auto& [subject, message] : last) {
    Value value;
    absl::StatusOr<MessageNode> node = ParseFleetMessage(*message, &value);
    const absl::Status status =
        node.ok() ? take(*std::move(node), std::move(value)) : node.status();
    if (!status.ok()) left_out.Add(*message, status);
  }
  return absl::OkStatus();
}

// Sets `stale_since` of the VMs that ran at the last heartbeat of their node, unless it lives. A
// node without a heartbeat may have died before its heartbeat was deleted.
absl::Status JoinHeartbeats(NatsConnection* connection, const FleetFilter& filter,
                            const FleetEventReader::Environment& environment, NodeVms* vms) {
  if (vms->empty()) return absl::OkStatus();
  const auto nodes = ReadFleetNodes(connection, filter, environment);
  if (absl::IsNotFound(nodes.status())) return absl::OkStatus();
  if (!nodes.ok()) return nodes.status();
  const absl::Time now = environment.now();
  std::map<std::pair<std::string, std::string>, const v1::NodeHeartbeat*> known;
  for (const v1::NodeHeartbeat& node : *nodes) known[{node.cluster(), node.node()}] = &node;
  for (NodeVm& vm : *vms) {
    if (vm.vm.state() == v1::VM_STATE_STOPPED) continue;  // final state
    const auto node = known.find({vm.node.cluster, vm.node.name});
    if (node == known.end()) {
      vm.node.stale_since = absl::InfinitePast();
    } else if (StateOf(*node->second, now) != NodeState::kUp) {
      vm.node.stale_since = FromProto(node->second->time());
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NodeVms> ReadFleetVms(NatsConnection* connection, const FleetFilter& filter,
                                     const FleetEventReader::Environment& environment) {
  const FleetMatcher matcher(filter);
  NodeVms vms;
  absl::Status status = ReadBucket<v1::Vm>(connection, kVmsBucket, VmSubjects(filter), environment,
                                           [&](MessageNode node, v1::Vm vm) {
                                             if (matcher.Matches(node, vm.ref())) {
                                               vms.push_back({std::move(vm), std::move(node)});
                                             }
                                             return absl::OkStatus();
                                           });
  if (!status.ok()) return status;
  const auto key = [](const NodeVm& vm) {
    return std::tie(vm.vm.ref().name(), vm.node.cluster, vm.node.name);
  };
  absl::c_sort(vms, [&](const NodeVm& a, const NodeVm& b) { return key(a) < key(b); });
  status = JoinHeartbeats(connection, filter, environment, &vms);
  if (!status.ok()) return status;
  return vms;
}

absl::StatusOr<std::vector<v1::NodeHeartbeat>> ReadFleetNodes(
    NatsConnection* connection, const FleetFilter& filter,
    const FleetEventReader::Environment& environment) {
  const FleetMatcher matcher(filter);
  std::vector<v1::NodeHeartbeat> nodes;
  absl::Status status = ReadBucket<v1::NodeHeartbeat>(
      connection, kNodesBucket, NodeSubjectsOf(filter), environment,
      [&](const MessageNode& origin, v1::NodeHeartbeat node) -> absl::Status {
        if (node.cluster() != origin.cluster || node.node() != origin.name) {
          return absl::InvalidArgumentError("its heartbeat names another node");
        }
        if (matcher.MatchesNode(node.cluster(), node.node())) nodes.push_back(std::move(node));
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  absl::c_sort(nodes, [](const auto& a, const auto& b) {
    return std::tie(a.cluster(), a.node()) < std::tie(b.cluster(), b.node());
  });
  return nodes;
}

}  // namespace vmeventd::client
