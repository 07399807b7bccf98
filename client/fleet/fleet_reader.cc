#include "client/fleet/fleet_reader.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/nats/stream_reader.h"
#include "base/nats/subject.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

MessageNode NodeOf(const FleetOrigin& origin) { return {origin.node, origin.cluster}; }

FleetEventReader::FleetEventReader(std::unique_ptr<StreamReader> reader, const FleetFilter& filter,
                                   Environment environment)
    : reader_(std::move(reader)), matcher_(filter), env_(std::move(environment)) {}

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
  Item item{(*next)->stream_sequence, std::nullopt};
  FleetEvent event;
  absl::StatusOr<FleetOrigin> origin = ParseFleetMessage(message, &event.event);
  if (!origin.ok()) {
    if (!std::exchange(noted_, true)) {
      env_.note(absl::StrCat("the message ", item.stream_sequence, " (",
                             EscapeForTerminal(message.subject()), ") of the stream ", kFleetStream,
                             " is no event of vmeventd: ", origin.status().message(),
                             "; it and others like it are left out"));
    }
    return item;
  }
  event.origin = *std::move(origin);
  if (matcher_.Matches(event.origin, event.event)) item.event = std::move(event);
  return item;
}

namespace {

// The last message of each key, by its subject.
using Values = std::map<std::string, NatsMessagePtr>;

absl::StatusOr<Values> ReadBucket(NatsConnection* connection, absl::string_view bucket,
                                  const std::vector<std::string>& subjects,
                                  const FleetEventReader::Environment& environment) {
  const auto reader = StreamReader::Open(connection, BucketStream(bucket), subjects,
                                         LastOfEachSubject{}, environment.clock);
  if (!reader.ok()) return reader.status();
  Values values;
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
    if (message->header("KV-Operation").empty()) {
      values[subject] = std::move(message);
    } else {
      values.erase(subject);  // the key was deleted
    }
  }
  return values;
}

// Notes the first value that cannot be read.
class Unreadable {
 public:
  explicit Unreadable(const FleetEventReader::Environment& environment) : env_(environment) {}
  void Note(const NatsMessage& message, const absl::Status& why) {
    if (std::exchange(noted_, true)) return;
    env_.note(absl::StrCat("the key ", EscapeForTerminal(message.subject()),
                           " has no value of vmeventd: ", why.message(),
                           "; it and others like it are left out"));
  }

 private:
  const FleetEventReader::Environment& env_;
  bool noted_ = false;
};

}  // namespace

absl::StatusOr<std::vector<FleetVm>> ReadFleetVms(
    NatsConnection* connection, const FleetFilter& filter,
    const FleetEventReader::Environment& environment) {
  const absl::StatusOr<Values> values =
      ReadBucket(connection, kVmsBucket, VmSubjects(filter), environment);
  if (!values.ok()) return values.status();
  const FleetMatcher matcher(filter);
  Unreadable unreadable(environment);
  std::vector<FleetVm> vms;
  for (const auto& [subject, message] : *values) {
    FleetVm vm;
    absl::StatusOr<FleetOrigin> origin = ParseFleetMessage(*message, &vm.vm);
    if (!origin.ok()) {
      unreadable.Note(*message, origin.status());
      continue;
    }
    vm.origin = *std::move(origin);
    if (matcher.Matches(vm.origin, vm.vm.ref())) vms.push_back(std::move(vm));
  }
  const auto key = [](const FleetVm& vm) {
    return std::tie(vm.vm.ref().name(), vm.origin.cluster, vm.origin.node);
  };
  std::sort(vms.begin(), vms.end(),
            [&](const FleetVm& a, const FleetVm& b) { return key(a) < key(b); });
  return vms;
}

absl::StatusOr<std::vector<v1::NodeHeartbeat>> ReadFleetNodes(
    NatsConnection* connection, const FleetFilter& filter,
    const FleetEventReader::Environment& environment) {
  const absl::StatusOr<Values> values =
      ReadBucket(connection, kNodesBucket, NodeSubjectsOf(filter), environment);
  if (!values.ok()) return values.status();
  const FleetMatcher matcher(filter);
  Unreadable unreadable(environment);
  std::vector<v1::NodeHeartbeat> nodes;
  for (const auto& [subject, message] : *values) {
    v1::NodeHeartbeat node;
    if (absl::Status parsed = ParsePayload(message->data(), &node); !parsed.ok()) {
      unreadable.Note(*message, parsed);
    } else if (matcher.MatchesNode(node.cluster(), node.node())) {
      nodes.push_back(std::move(node));
    }
  }
  std::sort(nodes.begin(), nodes.end(), [](const auto& a, const auto& b) {
    return std::tie(a.cluster(), a.node()) < std::tie(b.cluster(), b.node());
  });
  return nodes;
}

}  // namespace vmeventd::client
