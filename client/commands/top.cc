#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/commands/commands.h"
#include "client/output/event_text.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

// Lines of a heading and what follows it; cuts what does not fit.
class Screen {
 public:
  explicit Screen(const TopStyle& style) : style_(style) {}

  void Add(const std::string& heading, std::vector<Cell> cells) {
    if (!heading.empty()) cells.insert(cells.begin(), {heading, Color::kDim});
    std::vector<ColumnLayout::Column> columns(cells.size());
    if (!heading.empty()) columns[0].min_width = 8;
    AddLines(ColumnLayout(std::move(columns), Painter(style_.color)).Rows({cells}, style_.width));
  }
  void AddLines(absl::string_view text) {
    for (const absl::string_view line : absl::StrSplit(absl::StripSuffix(text, "\n"), '\n')) {
      if (lines_.size() < style_.height) lines_.emplace_back(line);
    }
  }
  size_t room() const { return style_.height - lines_.size(); }
  std::string Text() const { return absl::StrCat(absl::StrJoin(lines_, "\n"), "\n"); }

 private:
  const TopStyle& style_;
  std::vector<std::string> lines_;
};

void AddVms(const TopData& data, Screen* screen) {
  std::vector<Cell> cells;
  int all = 0;
  for (const auto& [state, count] : data.states) {
    all += count;
    cells.push_back({absl::StrCat(ShortName(state), " ", count), ColorOf(state)});
  }
  cells.insert(cells.begin(), {absl::StrCat(all), Color::kBold});
  if (data.with_problems > 0) {
    cells.push_back({absl::StrCat("with problems ", data.with_problems), Color::kYellow});
  }
  if (data.with_intents > 0) cells.push_back({absl::StrCat("with intents ", data.with_intents)});
  screen->Add("VMs", std::move(cells));
}

void AddEnds(const TopData& data, Screen* screen) {
  std::map<v1::ShutdownClass, int> classes = {{v1::SHUTDOWN_CLASS_USER, 0},
                                              {v1::SHUTDOWN_CLASS_ADMIN, 0},
                                              {v1::SHUTDOWN_CLASS_CRASH, 0},
                                              {v1::SHUTDOWN_CLASS_UNKNOWN, 0}};
  for (const NodeEvent& end : data.ends) ++classes[end.event.shutdown().shutdown_class()];
  std::vector<Cell> cells = {
      {absl::StrCat(data.ends.size(), data.more_ends ? "+" : ""), Color::kBold}};
  for (const auto& [shutdown_class, count] : classes) {
    cells.push_back({absl::StrCat(ShortName(shutdown_class), " ", count),
                     count == 0 ? Color::kDim : ColorOf(shutdown_class)});
  }
  cells.push_back({absl::StrCat("in the last ", DurationText(data.window)), Color::kDim});
  screen->Add("Ends", std::move(cells));
}

constexpr char kServing[] = "SERVING";

// The longest time from QEMU's report of an end to its event; none: no end has a time of QEMU.
std::optional<absl::Duration> LongestLag(const NodeEvents& ends) {
  std::optional<absl::Duration> longest;
  for (const auto& [end, node, resume_after] : ends) {
    if (!end.has_qemu_time()) continue;
    const absl::Duration lag = FromProto(end.observe_time()) - FromProto(end.qemu_time());
    longest = std::max(longest.value_or(absl::ZeroDuration()), lag);
  }
  return longest;
}

void AddServer(const TopData& data, Screen* screen) {
  screen->Add("Streams", {{absl::StrCat(data.info.streams()), Color::kBold}});
  if (!data.health.empty()) {
    const bool serves = data.health == kServing;
    screen->Add("Health", {{data.health, serves ? Color::kNone : Color::kRed}});
  }
  const bool writable = data.info.journal_writable();
  screen->Add(
      "Journal",
      {{writable ? "writable" : "NOT WRITABLE", writable ? Color::kNone : Color::kRed},
       {data.info.newest_sequence() == 0 ? "no events"
                                         : absl::StrCat("events ", data.info.oldest_sequence(),
                                                        " to ", data.info.newest_sequence())}});
  std::vector<Cell> lag;
  if (const auto longest = LongestLag(data.ends)) {
    lag.push_back({absl::StrCat("at most ", DurationText(*longest), " from QEMU to the event")});
  }
  lag.push_back({absl::StrCat("answer in ", DurationText(data.answer_time))});
  screen->Add("Lag", std::move(lag));
}

void AddLatest(const TopData& data, const TopStyle& style, Screen* screen) {
  if (data.ends.empty() || screen->room() < 3) return;
  screen->AddLines("");
  ColumnLayout layout({{"TIME"}, {"VM", 0, 24, /*cut_middle=*/true}, {"CLASS"}, {"CAUSE"}},
                      Painter(style.color));
  std::vector<std::vector<Cell>> rows;
  for (const auto& [end, node, resume_after] : data.ends) {
    if (rows.size() + 1 >= screen->room()) break;
    const v1::ShutdownDetail& shutdown = end.shutdown();
    rows.push_back({{ClockText(FromProto(end.observe_time()), style.zone), Color::kDim},
                    {EscapeForTerminal(end.vm().name()), Color::kBold},
                    {ClassWord(shutdown), ColorOf(shutdown.shutdown_class())},
                    {CauseWords(shutdown.cause())}});
  }
  const std::string lines = layout.Rows(rows, style.width);
  screen->AddLines(absl::StrCat(layout.Heading(style.width), lines));
}

}  // namespace

std::string TopFrame(const TopData& data, const TopStyle& style) {
  Screen screen(style);
  std::vector<Cell> first = {{EscapeForTerminal(data.info.node()), Color::kBold},
                             {absl::StrCat("vmeventd ", EscapeForTerminal(data.info.version()))}};
  if (data.info.has_start_time()) {
    const absl::Duration up = data.now - FromProto(data.info.start_time());
    first.push_back({absl::StrCat("up ", ShortDurationText(up))});
  }
  first.push_back({LocalTimeText(data.now, style.zone), Color::kDim});
  screen.Add("", std::move(first));
  if (!data.failure.empty()) {
    for (const std::string& line : WrapText(data.failure, style.width)) {
      screen.Add("", {{line, Color::kYellow}});
    }
  }
  AddVms(data, &screen);
  AddEnds(data, &screen);
  AddServer(data, &screen);
  const int unfollowed = data.info.unfollowed_sockets_size();
  if (unfollowed > 0) {
    screen.Add("Sockets", {{absl::StrCat(unfollowed, unfollowed < kMaxUnfollowed ? "" : " or more",
                                         " without a VM: see vmevents info"),
                            Color::kYellow}});
  }
  AddLatest(data, style, &screen);
  return screen.Text();
}

namespace {

constexpr uint64_t kMaxEnds = 1000;  // limit of STOPPED events of a frame, in memory

// Moves to the upper left corner, and clears from there.
constexpr char kRedraw[] = "\x1b[H\x1b[J";

std::string HealthOf(const CommandContext& context) {
  std::vector<std::string> services = {""};
  services.insert(services.end(), kHealthServices.begin(), kHealthServices.end());
  std::string faults;
  for (const std::string& service : services) {
    grpc::health::v1::HealthCheckResponse response;
    if (CheckHealth(service, kRequestTimeout, context, &response)) continue;  // shown as a failure
    if (response.status() == grpc::health::v1::HealthCheckResponse::SERVING) continue;
    if (service.empty()) return "NOT SERVING: starting or stopping";
    absl::StrAppend(&faults, faults.empty() ? "" : ", ", service);
  }
  return faults.empty() ? kServing : absl::StrCat("NOT SERVING: ", faults, "; see vmevents health");
}

std::optional<Failure> Read(const TopCommand& command, const CommandContext& context,
                            const TopEnvironment& environment, TopData* data) {
  data->now = environment.now();
  data->window = command.window;
  if (auto failure = ReadInfo(context, &data->info)) return failure;
  data->answer_time = environment.now() - data->now;
  if (command.once) data->health = HealthOf(context);
  DaemonLists lists(context);
  NodeVms all;
  if (auto failure = lists.ReadVms({}, &all)) return failure;
  for (const auto& [vm, node, ends, last_end] : all) {
    ++data->states[vm.state()];
    if (vm.problems_size() > 0) ++data->with_problems;
    if (vm.has_intent()) ++data->with_intents;
  }
  EventsCommand ends;
  ends.filter.add_types(v1::EVENT_TYPE_STOPPED);
  ends.since = data->now - command.window;
  ends.last = kMaxEnds;
  size_t read = 0;
  auto failure = lists.ReadEvents(ends, [&](NodeEvent one) {
    ++read;
    // A GAP passes every filter.
    if (one.event.type() == v1::EVENT_TYPE_STOPPED) data->ends.push_back(std::move(one));
    return true;
  });
  data->more_ends = read >= kMaxEnds;
  return failure;
}

}  // namespace

std::optional<Failure> RunTop(const TopCommand& command, const CommandContext& context,
                              const TopEnvironment& environment) {
  TopData shown;
  bool any = false;
  while (true) {
    TopData fresh;
    if (std::optional<Failure> failure = Read(command, context, environment, &fresh)) {
      if (!any) return failure;
      shown.failure = failure->sentence;
    } else {
      shown = std::move(fresh);
      any = true;
    }
    const std::string frame = TopFrame(shown, environment.style());
    const absl::Status written =
        context.output->Write(environment.live ? absl::StrCat(kRedraw, frame) : frame);
    if (!written.ok()) return FromPrint(written);
    if (!environment.live || environment.wait(command.interval)) return std::nullopt;
  }
}

}  // namespace vmeventd::client
