#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/commands/commands.h"
#include "client/output/event_text.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

constexpr uint64_t kMaxEnds = 1000;  // limit of STOPPED events of a frame, in memory

// Moves to the upper left corner, and clears from there.
constexpr char kRedraw[] = "\x1b[H\x1b[J";

// The VMs by state.
std::optional<Failure> AddVms(DaemonLists* lists, FactList* facts) {
  NodeVms vms;
  if (auto failure = lists->ReadVms({}, /*stopped_too=*/false, &vms)) return failure;
  std::map<v1::VmState, int> states;
  int problems = 0;
  int intents = 0;
  for (const NodeVm& one : vms) {
    ++states[one.vm.state()];
    problems += one.vm.problems_size() > 0 ? 1 : 0;
    intents += one.vm.has_intent() ? 1 : 0;
  }
  std::vector<std::string> parts = {absl::StrCat(vms.size())};
  for (const auto& [state, count] : states) {
    parts.push_back(absl::StrCat(ShortName(state), " ", count));
  }
  if (problems > 0) parts.push_back(absl::StrCat("with problems ", problems));
  if (intents > 0) parts.push_back(absl::StrCat("with intents ", intents));
  facts->Add("VMs", absl::StrJoin(parts, "  "), problems > 0 ? Color::kYellow : Color::kNone);
  return std::nullopt;
}

// The state of the node: its facts, then the newest ends of the window.
std::optional<Failure> MakeFrame(const TopCommand& command, const CommandContext& context,
                                 const TableStyle& style, size_t height, std::string* frame) {
  const absl::Time now = style.now();
  v1::GetServerInfoResponse info;
  if (auto failure = ReadInfo(context, &info)) return failure;
  const absl::Duration answer_time = style.now() - now;
  FactList facts(Painter(style.color), 8, style.width);
  const std::string up =
      info.has_start_time()
          ? absl::StrCat("up ", ShortDurationText(now - FromProto(info.start_time())), "  ")
          : "";
  facts.Add(EscapeForTerminal(info.node()),
            absl::StrCat("vmeventd ", info.version(), "  ", up, LocalTimeText(now, style.zone)));
  DaemonLists lists(context);
  if (auto failure = AddVms(&lists, &facts)) return failure;

  EventsCommand of_window;
  of_window.filter.add_types(v1::EVENT_TYPE_STOPPED);
  of_window.since = now - command.window;
  of_window.last = kMaxEnds;
  NodeEvents ends;
  std::map<v1::ShutdownClass, int> classes;
  absl::Duration lag;  // the longest time from QEMU's report of an end to its event
  uint64_t read = 0;
  auto failure = lists.ReadEvents(of_window, [&](NodeEvent one) {
    ++read;
    const v1::Event& end = one.event;
    if (end.type() != v1::EVENT_TYPE_STOPPED) return true;  // a GAP passes every filter
    ++classes[end.shutdown().shutdown_class()];
    if (end.has_qemu_time()) {
      lag = std::max(lag, FromProto(end.observe_time()) - FromProto(end.qemu_time()));
    }
    if (ends.size() < height) ends.push_back(std::move(one));
    return true;
  });
  if (failure) return failure;
  facts.Add("Ends",
            absl::StrCat(read < kMaxEnds ? "" : "at least ", EndsText(classes, command.window)));
  facts.Add("Streams", absl::StrCat(info.streams()));
  if (command.once) {
    const std::string health = HealthText(context);
    facts.Add("Health", health, health == "SERVING" ? Color::kNone : Color::kRed);
  }
  const bool writable = info.journal_writable();
  facts.Add(
      "Journal",
      absl::StrCat(writable ? "writable" : "NOT WRITABLE", "  ",
                   info.newest_sequence() == 0 ? "no events"
                                               : absl::StrCat("events ", info.oldest_sequence(),
                                                              " to ", info.newest_sequence())),
      writable ? Color::kNone : Color::kRed);
  facts.Add("Lag",
            absl::StrCat(lag == absl::ZeroDuration() ? ""
                                                     : absl::StrCat("at most ", DurationText(lag),
                                                                    " from QEMU to the event  "),
                         "answer in ", DurationText(answer_time)));
  if (const int unfollowed = info.unfollowed_sockets_size(); unfollowed > 0) {
    facts.Add("Sockets",
              absl::StrCat(unfollowed, unfollowed < kMaxUnfollowed ? "" : " or more",
                           " without a VM: see vmevents info"),
              Color::kYellow);
  }
  *frame = facts.Take();
  if (ends.empty()) return std::nullopt;
  const auto table = Formatter(Form::kTable, style).FormatEvents(ends);
  if (table.ok()) absl::StrAppend(frame, "\n", *table);
  return std::nullopt;
}

}  // namespace

std::optional<Failure> RunTop(const TopCommand& command, const CommandContext& context,
                              const TopEnvironment& environment) {
  std::string frame;  // of the last answer
  while (true) {
    const auto [style, height] = environment.style();
    std::string shown;
    if (auto failure = MakeFrame(command, context, style, height, &frame)) {
      if (frame.empty()) return failure;
      shown = absl::StrCat(absl::StrJoin(WrapText(failure->sentence, style.width), "\n"), "\n");
    }
    std::vector<std::string> lines = absl::StrSplit(shown + frame, '\n');
    lines.resize(std::min(lines.size() - 1, height));
    shown = absl::StrCat(environment.live ? kRedraw : "", absl::StrJoin(lines, "\n"), "\n");
    const absl::Status written = context.output->Write(shown);
    if (!written.ok()) return FromPrint(written);
    if (!environment.live || environment.wait(command.interval)) return std::nullopt;
  }
}

}  // namespace vmeventd::client
