#include "client/fleet/fleet_lists.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/nats/stream_reader.h"
#include "base/nats/subject.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_events.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

constexpr int kPrintedTogether = 1000;  // events that are printed together
// Of the newest events, so many messages are read first; then, if too few of them matched, more.
constexpr uint64_t kFirstWindow = 10'000;
constexpr uint64_t kWindowGrowth = 8;

using Item = FleetEventReader::Item;

absl::Status Print(const FleetContext& context, const absl::StatusOr<std::string>& text) {
  return text.ok() ? context.output->Write(*text) : text.status();
}

// Runs `ask` with a connection.
template <typename Ask>
std::optional<Failure> WithFleet(const FleetContext& context, const Ask& ask) {
  const auto connection = context.connect();
  absl::Status status = connection.status();
  if (status.ok()) status = ask(connection->get());
  if (status.ok()) return std::nullopt;
  return ExplainFleetFailure(context.servers, status);
}

// Calls `take` with each event of the filter from `start` up to `last`, until it returns false.
absl::Status ReadEvents(NatsConnection* connection, const FleetFilter& filter,
                        const ReadStart& start, uint64_t last, const FleetContext& context,
                        const std::function<bool(Item)>& take) {
  const auto reader = FleetEventReader::Open(connection, filter, start, {.note = context.note});
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
  if (filter.since) return *filter.since - kMostSkew;
  return state.first;
}

// The newest `count` events, the oldest of them first.
absl::StatusOr<std::deque<Item>> ReadNewest(NatsConnection* connection, const FleetFilter& filter,
                                            uint64_t count, const FleetContext& context) {
  const absl::StatusOr<StreamState> state = ReadStreamState(connection, std::string(kFleetStream));
  if (!state.ok()) return state.status();
  for (uint64_t window = std::max(kFirstWindow, 2 * count);; window *= kWindowGrowth) {
    const bool whole = filter.since || state->last < state->first + window;
    const ReadStart start = whole ? StartOf(filter, *state) : ReadStart(state->last + 1 - window);
    std::deque<Item> newest;
    absl::Status status =
        ReadEvents(connection, filter, start, state->last, context, [&](Item item) {
          newest.push_back(std::move(item));
          if (newest.size() > count) newest.pop_front();
          return true;
        });
    if (!status.ok()) return status;
    if (whole || newest.size() == count) return newest;
  }
}

// Collects events and prints them in batches.
class EventPrinter {
 public:
  explicit EventPrinter(const FleetContext& context) : context_(context) {
    printed_ = context_.output->Write(context_.formatter->EventHeading());
  }
  // False: no more can be printed.
  bool Add(FleetEvent event) {
    nodes_.push_back(NodeOf(event.origin));
    *events_.Add() = std::move(event.event);
    if (events_.size() == kPrintedTogether) Flush();
    return printed_.ok();
  }
  absl::Status Finish() {
    if (printed_.ok()) Flush();
    return printed_;
  }

 private:
  void Flush() {
    printed_ = Print(context_, context_.formatter->FormatEvents(events_, nodes_));
    events_.Clear();
    nodes_.clear();
  }

  const FleetContext& context_;
  Formatter::Events events_;
  Formatter::Nodes nodes_;
  absl::Status printed_;
};

FleetFilter FilterOf(const EventsCommand& command, const FleetContext& context) {
  return {command.filter, context.nodes, command.since, command.until};
}

// "node1, node2": where the VMs are.
std::string Places(const std::vector<FleetVm>& vms) {
  return absl::StrJoin(vms, ", ", [](std::string* out, const FleetVm& vm) {
    absl::StrAppend(out, EscapeForTerminal(vm.origin.cluster), "/",
                    EscapeForTerminal(vm.origin.node));
  });
}

// The one VM of a name that is meant: the one that is not stopped, or the one that stopped last.
absl::StatusOr<FleetVm> ChooseVm(std::vector<FleetVm> vms, const VmCommand& command) {
  const std::string name = EscapeForTerminal(command.name);
  if (vms.empty()) {
    return absl::NotFoundError(absl::StrCat(
        "no VM \"", name, "\"",
        command.run_id.empty() ? ""
                               : absl::StrCat(" with the run \"", EscapeForTerminal(command.run_id),
                                              "\" as the latest on its node"),
        " is known in the fleet; `vmevents vms --all` lists those that are"));
  }
  std::vector<FleetVm> running;
  for (const FleetVm& vm : vms) {
    if (vm.vm.state() != v1::VM_STATE_STOPPED) running.push_back(vm);
  }
  if (running.size() > 1) {
    return absl::FailedPreconditionError(absl::StrCat("the name \"", name,
                                                      "\" stands for more than one VM: on ",
                                                      Places(running), "; choose one with --node"));
  }
  if (!running.empty()) return running.front();
  return *std::max_element(vms.begin(), vms.end(), [](const FleetVm& a, const FleetVm& b) {
    return FromProto(a.vm.state_time()) < FromProto(b.vm.state_time());
  });
}

}  // namespace

std::optional<Failure> RunFleet(const EventsCommand& command, const FleetContext& context) {
  const FleetFilter filter = FilterOf(command, context);
  absl::Status printed;
  std::optional<Failure> failure = WithFleet(context, [&](NatsConnection* connection) {
    if (!command.last && !command.newest_first) {
      const auto state = ReadStreamState(connection, std::string(kFleetStream));
      if (!state.ok()) return state.status();
      EventPrinter printer(context);
      uint64_t left = command.limit.value_or(std::numeric_limits<uint64_t>::max());
      absl::Status status =
          ReadEvents(connection, filter, StartOf(filter, *state), state->last, context,
                     [&](Item item) { return printer.Add(*std::move(item.event)) && --left > 0; });
      printed = printer.Finish();
      return status;
    }
    const uint64_t count = command.last.value_or(command.limit.value_or(kMostEvents));
    absl::StatusOr<std::deque<Item>> newest = ReadNewest(connection, filter, count, context);
    if (!newest.ok()) return newest.status();
    if (!command.last && !command.limit && newest->size() == kMostEvents) {
      context.note(absl::StrCat("only the newest ", kMostEvents,
                                " events are shown; see more with --since and --until"));
    }
    if (command.newest_first) std::reverse(newest->begin(), newest->end());
    EventPrinter printer(context);
    for (Item& item : *newest) {
      if (!printer.Add(*std::move(item.event))) break;
    }
    printed = printer.Finish();
    return absl::OkStatus();
  });
  return failure ? failure : FromPrint(printed);
}

std::optional<Failure> FindFleetStart(const FleetFilter& filter, uint64_t last,
                                      const FleetContext& context, WatchStart* start) {
  return WithFleet(context, [&](NatsConnection* connection) {
    const absl::StatusOr<std::deque<Item>> newest = ReadNewest(connection, filter, last, context);
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

std::optional<Failure> RunFleet(const VmsCommand& command, const FleetContext& context) {
  FleetFilter filter{.nodes = context.nodes};
  filter.events.mutable_vm_names()->Add(command.names.begin(), command.names.end());
  filter.events.mutable_sources()->Add(command.sources.begin(), command.sources.end());
  Formatter::Vms vms;
  Formatter::Nodes nodes;
  std::optional<Failure> failure = WithFleet(context, [&](NatsConnection* connection) {
    absl::StatusOr<std::vector<FleetVm>> all =
        ReadFleetVms(connection, filter, {.note = context.note});
    if (!all.ok()) return all.status();
    for (FleetVm& vm : *all) {
      const v1::VmState state = vm.vm.state();
      const bool wanted =
          command.states.empty() ||
          std::find(command.states.begin(), command.states.end(), state) != command.states.end();
      if (!wanted || (state == v1::VM_STATE_STOPPED && !command.include_stopped)) continue;
      nodes.push_back(NodeOf(vm.origin));
      *vms.Add() = std::move(vm.vm);
    }
    return absl::OkStatus();
  });
  return failure ? failure : FromPrint(Print(context, context.formatter->FormatVms(vms, nodes)));
}

std::optional<Failure> RunFleet(const VmCommand& command, const FleetContext& context) {
  // The server looks the name up; a name is no glob here.
  FleetFilter filter{.nodes = context.nodes};
  if (command.name.find_first_of("*?[") == std::string::npos) {
    filter.events.add_vm_names(command.name);
  }
  std::vector<FleetVm> found;
  std::optional<Failure> failure = WithFleet(context, [&](NatsConnection* connection) {
    absl::StatusOr<std::vector<FleetVm>> all =
        ReadFleetVms(connection, filter, {.note = context.note});
    if (!all.ok()) return all.status();
    for (FleetVm& vm : *all) {
      if (vm.vm.ref().name() != command.name) continue;
      if (!command.run_id.empty() && vm.vm.ref().run_id() != command.run_id) continue;
      found.push_back(std::move(vm));
    }
    return absl::OkStatus();
  });
  if (failure) return failure;
  const absl::StatusOr<FleetVm> vm = ChooseVm(std::move(found), command);
  if (!vm.ok()) {
    return Failure{absl::IsNotFound(vm.status()) ? ExitCode::kNotFound : ExitCode::kFailed,
                   std::string(vm.status().message())};
  }
  return FromPrint(Print(context, context.formatter->FormatVm(vm->vm, {NodeOf(vm->origin)})));
}

std::optional<Failure> RunFleet(const FleetCommand& /*command*/, const FleetContext& context) {
  Formatter::Heartbeats nodes;
  std::optional<Failure> failure = WithFleet(context, [&](NatsConnection* connection) {
    absl::StatusOr<std::vector<v1::NodeHeartbeat>> all =
        ReadFleetNodes(connection, {.nodes = context.nodes}, {.note = context.note});
    if (!all.ok()) return all.status();
    for (v1::NodeHeartbeat& node : *all) *nodes.Add() = std::move(node);
    return absl::OkStatus();
  });
  return failure ? failure
                 : FromPrint(Print(context, context.formatter->FormatFleet(nodes, context.now())));
}

}  // namespace vmeventd::client
