#include "client/commands/top.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/connect/connection.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

// Limits of a frame and of a timeline, which are kept in memory.
constexpr uint64_t kMostEnds = 1000;
constexpr uint64_t kMostEvents = 100'000;

// To the upper left corner, and clear from there.
constexpr char kRedraw[] = "\x1b[H\x1b[J";

std::optional<Failure> Read(const TopCommand& command, const CommandContext& context,
                            const TopEnvironment& environment, TopData* data) {
  data->now = environment.now();
  data->window = command.window;
  {
    grpc::ClientContext call;
    SetRequestDeadline(&call);
    const grpc::Status status = context.stub->GetServerInfo(&call, {}, &data->info);
    if (!status.ok()) return ExplainFailure(context.address, status);
    data->answer_time = environment.now() - data->now;
  }
  DaemonLists lists(context);
  VmList all;
  if (auto failure = lists.ReadVms({}, &all)) return failure;
  for (const v1::Vm& vm : all.vms) {
    ++data->states[vm.state()];
    if (vm.problems_size() > 0) ++data->with_problems;
    if (vm.has_intent()) ++data->with_intents;
  }
  EventsCommand ends;
  ends.filter.add_types(v1::EVENT_TYPE_STOPPED);
  ends.since = data->now - command.window;
  ends.last = kMostEnds;
  auto failure = lists.ReadEvents(ends, [data](EventList* page) {
    for (v1::Event& event : page->events) data->ends.emplace_back().Swap(&event);
    return true;
  });
  data->more_ends = data->ends.size() >= kMostEnds;
  return failure;
}

}  // namespace

std::optional<Failure> RunTop(const TopCommand& command, const CommandContext& context,
                              const TopEnvironment& environment) {
  TopData shown;
  bool any = false;
  TopSort sort = TopSort::kTime;
  while (true) {
    TopData fresh;
    std::optional<Failure> failure = Read(command, context, environment, &fresh);
    if (failure && !any) return failure;
    if (failure) {
      shown.failure = failure->sentence;
    } else {
      shown = std::move(fresh);
      any = true;
    }
    for (TopWake wake = TopWake::kRedraw; wake != TopWake::kDue;) {
      if (wake == TopWake::kByTime) sort = TopSort::kTime;
      if (wake == TopWake::kByVm) sort = TopSort::kVm;
      if (wake == TopWake::kByClass) sort = TopSort::kClass;
      TopStyle style = environment.style();
      style.sort = sort;
      const std::string frame = TopFrame(shown, style);
      const absl::Status written =
          context.output->Write(environment.live ? absl::StrCat(kRedraw, frame) : frame);
      if (!written.ok()) return FromPrint(written);
      if (!environment.live) return std::nullopt;
      wake = environment.wait(command.interval);
      if (wake == TopWake::kQuit) return std::nullopt;
    }
  }
}

EventsCommand EventsOf(const TimelineCommand& command) {
  EventsCommand events;
  // The name is no pattern: each character with a meaning becomes a bracket of its own.
  events.filter.add_vm_names(
      absl::StrReplaceAll(command.name, {{"[", "[[]"}, {"*", "[*]"}, {"?", "[?]"}}));
  events.since = command.since;
  events.limit = kMostEvents;
  return events;
}

std::optional<Failure> RunTimeline(const TimelineCommand& command, const CommandContext& context,
                                   const TimelineStyle& style, absl::Time now) {
  Formatter::Events events;
  auto failure = DaemonLists(context).ReadEvents(EventsOf(command), [&](EventList* page) {
    for (v1::Event& event : page->events) {
      // A GAP of the whole node passes every filter.
      if (!event.has_vm()) continue;
      if (!command.run_id.empty() && event.vm().run_id() != command.run_id) continue;
      events.Add()->Swap(&event);
    }
    return true;
  });
  if (failure) return failure;
  const std::vector<TimelineRun> runs = RunsOf(events, now);
  if (runs.empty()) {
    return Failure{ExitCode::kNotFound,
                   absl::StrCat("vmeventd at ", ToText(context.address),
                                " has no events of a VM \"", EscapeForTerminal(command.name),
                                "\"; `vmevents vms --all` lists those that are known")};
  }
  return PrintText(TimelineText(command.name, runs, style), context.output);
}

}  // namespace vmeventd::client
