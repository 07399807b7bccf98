#include "client/fleet/fleet_lists.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/fleet/fleet_reader.h"
#include "client/nats/stream_reader.h"
#include "client/nats/subject.h"

namespace vmeventd::client {
namespace {

// Messages that are read first to find the newest events; if too few match, more are read.
constexpr uint64_t kFirstWindow = 10'000;
constexpr uint64_t kWindowGrowth = 8;

using Item = FleetEventReader::Item;

// Runs `ask` with a connection.
template <typename Ask>
std::optional<Failure> WithFleet(const FleetLists::Environment& env, const Ask& ask) {
  const auto connection = env.connect();
  absl::Status status = connection.status();
  if (status.ok()) status = ask(connection->get());
  if (status.ok()) return std::nullopt;
  return ExplainFleetFailure(env.servers, status);
}

// Calls `take` with each event of the filter from `start` up to `last`, until it returns false.
absl::Status ReadMessages(NatsConnection* connection, const FleetFilter& filter,
                          const ReadStart& start, uint64_t last, const FleetLists::Environment& env,
                          const std::function<bool(Item)>& take) {
  Repeats repeats;
  const auto reader =
      FleetEventReader::Open(connection, filter, start, {.note = env.note, .repeats = &repeats});
  if (!reader.ok()) return reader.status();
  while ((*reader)->pending() > 0) {
    auto next = (*reader)->Next(kPatience);
    if (!next.ok()) return next.status();
    if (!next->has_value()) {
      return absl::UnavailableError(absl::StrCat("nothing came from the stream ", kFleetStream,
                                                 " for ", absl::FormatDuration(kPatience)));
    }
    const uint64_t sequence = (*next)->stream_sequence;
    if (sequence > last) break;
    if ((*next)->event && !take(*std::move(*next))) break;
    if (sequence == last) break;
  }
  return absl::OkStatus();
}

ReadStart StartOf(const FleetFilter& filter, const StreamState& state) {
  if (filter.since) return *filter.since - kMaxSkew;
  return state.first;
}

// The newest `count` events, the oldest of them first.
absl::StatusOr<std::deque<Item>> ReadNewest(NatsConnection* connection, const FleetFilter& filter,
                                            uint64_t count, const FleetLists::Environment& env) {
  const absl::StatusOr<StreamState> state = ReadStreamState(connection, kFleetStream);
  if (!state.ok()) return state.status();
  for (uint64_t window = std::max(kFirstWindow, 2 * count);; window *= kWindowGrowth) {
    const bool whole = filter.since || state->last < state->first + window;
    const ReadStart start = whole ? StartOf(filter, *state) : ReadStart(state->last + 1 - window);
    std::deque<Item> newest;
    absl::Status status = ReadMessages(connection, filter, start, state->last, env, [&](Item item) {
      newest.push_back(std::move(item));
      if (newest.size() > count) newest.pop_front();
      return true;
    });
    if (!status.ok()) return status;
    if (whole || newest.size() == count) return newest;
  }
}

// Appends the VMs that pass both, by name and then by node.
template <typename Wanted>
std::optional<Failure> ReadMatching(const FleetFilter& filter, const FleetLists::Environment& env,
                                    NodeVms* vms, const Wanted& wanted) {
  return WithFleet(env, [&](NatsConnection* connection) {
    absl::StatusOr<NodeVms> all =
        ReadFleetVms(connection, filter, {.note = env.note, .now = env.now});
    if (!all.ok()) return all.status();
    std::erase_if(*all, [&wanted](const NodeVm& one) { return !wanted(one.vm); });
    Append(&*all, vms);
    return absl::OkStatus();
  });
}

}  // namespace

std::optional<Failure> FleetLists::ReadEvents(const EventsCommand& command, const Take& take) {
  const FleetFilter filter = {command.filter, env_.nodes, command.since, command.until};
  return WithFleet(env_, [&](NatsConnection* connection) {
    EventBatches batches(take);
    if (!command.reads_newest_first()) {
      const auto state = ReadStreamState(connection, kFleetStream);
      if (!state.ok()) return state.status();
      uint64_t left = command.most();
      absl::Status status = ReadMessages(
          connection, filter, StartOf(filter, *state), state->last, env_,
          [&](Item item) { return batches.Add(*std::move(item.event)) && --left > 0; });
      batches.Flush();
      return status;
    }
    const bool limited = command.last || command.limit;
    absl::StatusOr<std::deque<Item>> newest =
        ReadNewest(connection, filter, limited ? command.most() : kMaxEvents, env_);
    if (!newest.ok()) return newest.status();
    if (!limited && newest->size() == kMaxEvents) {
      env_.note(absl::StrCat("only the newest ", kMaxEvents,
                             " events are shown; see more with --since and --until"));
    }
    std::reverse(newest->begin(), newest->end());
    for (auto& item : *newest) {
      if (!batches.Add(*std::move(item.event))) break;
    }
    batches.Flush();
    return absl::OkStatus();
  });
}

std::optional<Failure> FleetLists::FindStart(const FleetFilter& filter, uint64_t last,
                                             WatchStart* start) const {
  return WithFleet(env_, [&](NatsConnection* connection) {
    const absl::StatusOr<std::deque<Item>> newest = ReadNewest(connection, filter, last, env_);
    if (!newest.ok()) return newest.status();
    if (newest->size() == last) {
      *start = FromSequence{newest->front().stream_sequence - 1, ""};
    } else if (filter.since) {
      *start = FromTime{*filter.since};
    } else {
      *start = FromOldest{};
    }
    return absl::OkStatus();
  });
}

std::optional<Failure> FleetLists::ReadVms(const VmsCommand& command, NodeVms* vms) {
  return ReadMatching({.events = command.filter, .nodes = env_.nodes}, env_, vms,
                      [&](const v1::Vm& vm) {
                        return vm.state() != v1::VM_STATE_STOPPED || command.include_stopped;
                      });
}

std::optional<Failure> FleetLists::ReadNodes(Formatter::Heartbeats* nodes) const {
  return WithFleet(env_, [&](NatsConnection* connection) {
    absl::StatusOr<std::vector<v1::NodeHeartbeat>> all =
        ReadFleetNodes(connection, {.nodes = env_.nodes}, {.note = env_.note});
    if (!all.ok()) return all.status();
    for (v1::NodeHeartbeat& node : *all) *nodes->Add() = std::move(node);
    return absl::OkStatus();
  });
}

}  // namespace vmeventd::client
