#include "client/commands/top.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/commands/print.h"
#include "client/output/ends_count.h"
#include "client/output/enum_names.h"
#include "client/output/fact_list.h"
#include "client/output/formatter.h"
#include "client/output/painter.h"
#include "client/output/stored_events.h"
#include "client/output/table_style.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/output/trouble.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/unfollowed_limit.h"

namespace vmeventd::client {
namespace {

// Moves to the upper left corner, and clears from there.
constexpr char kRedraw[] = "\x1b[H\x1b[J";

// The VMs by state.
void AddVms(const NodeVms& vms, FactList* facts) {
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
}

// The ends of the window.
std::string EndsOf(const NodeReport& report, const TopCommand& command, absl::Time now) {
  std::map<v1::ShutdownClass, int> classes;
  bool older = report.all_ends;
  for (const NodeEvent& one : report.ends) {
    const v1::Event& end = one.event;
    if (FromTimestamp(end.observe_time()) < now - command.window) {
      older = true;
      continue;
    }
    ++classes[end.shutdown().shutdown_class()];
  }
  return absl::StrCat(older ? "" : "at least ", EndsText(classes, command.window));
}

// The facts of one node.
std::string FactsOf(const NodeReport& report, const TopCommand& command, const TableStyle& style,
                    absl::Time now) {
  const v1::GetServerInfoResponse& info = report.info;
  FactList facts(Painter(style.color), 8, style.width);
  const std::string up =
      info.has_start_time()
          ? absl::StrCat("up ", ShortDurationText(now - FromTimestamp(info.start_time())), "  ")
          : "";
  facts.Add(EscapeForTerminal(info.node()),
            absl::StrCat("vmeventd ", info.version(), "  ", up, LocalTimeText(now, style.zone)));
  AddVms(report.vms, &facts);
  const std::string ends = EndsOf(report, command, now);
  // A journal that cannot be read does not hide how the node is.
  facts.Add("Ends", report.unread.empty() ? ends : report.unread,
            report.unread.empty() ? Color::kNone : Color::kRed);
  facts.Add("Streams", absl::StrCat(info.streams()));
  if (command.once) {
    facts.Add("Health", report.unhealthy.empty() ? "SERVING" : report.unhealthy,
              report.unhealthy.empty() ? Color::kNone : Color::kRed);
  }
  const bool writable = info.journal_writable();
  facts.Add(
      "Journal",
      absl::StrCat(writable ? "writable" : "NOT WRITABLE", "  ",
                   info.newest_sequence() == 0 ? "no events" : StoredEvents(info, style.zone)),
      writable ? Color::kNone : Color::kRed);
  facts.Add("Answer", absl::StrCat("in ", DurationText(report.answer_time)));
  if (const int unfollowed = info.unfollowed_sockets_size(); unfollowed > 0) {
    facts.Add("Sockets",
              absl::StrCat(unfollowed, unfollowed < kMaxUnfollowed ? "" : " or more",
                           " without a VM: see vmevents info"),
              Color::kYellow);
  }
  return facts.Take();
}

// The state of the nodes: the facts of one, or a row for each; the VMs with trouble; then the
// newest ends of the window.
absl::StatusOr<std::string> MakeFrame(const NodeReports& reports, const TopCommand& command,
                                      const TableStyle& style, size_t height, absl::Time now) {
  Formatter formatter(Form::kTable, style);
  std::string frame;
  if (style.nodes) {
    auto nodes = formatter.FormatNodes(reports, now);
    if (!nodes.ok()) return nodes;
    frame = *nodes;
  } else if (!reports.empty()) {
    frame = FactsOf(reports.front(), command, style, now);
  }
  NodeVms troubled;
  NodeEvents ends;
  for (const NodeReport& report : reports) {
    const NodeVms of_node = TroubledVms(report, now);
    troubled.insert(troubled.end(), of_node.begin(), of_node.end());
    for (const NodeEvent& one : report.ends) {
      if (FromTimestamp(one.event.observe_time()) >= now - command.window) ends.push_back(one);
    }
  }
  if (!style.nodes && !(troubled.empty() && ends.empty())) frame += "\n";
  frame += formatter.FormatTrouble(troubled, now, std::max<size_t>(height / 3, 3));
  if (ends.empty()) return frame;
  const auto is_newer = [](const NodeEvent& a, const NodeEvent& b) {
    return FromTimestamp(a.event.observe_time()) > FromTimestamp(b.event.observe_time());
  };
  if (style.nodes) std::stable_sort(ends.begin(), ends.end(), is_newer);
  const auto used = static_cast<size_t>(std::count(frame.begin(), frame.end(), '\n'));
  ends.resize(std::min(ends.size(), std::max<size_t>(height, used + 5) - used));
  const auto table = formatter.FormatEvents(ends);
  if (table.ok()) absl::StrAppend(&frame, *table);
  return frame;
}

}  // namespace

std::optional<Failure> RunTop(const TopCommand& command, ListSource* source, Output* output,
                              const TopEnvironment& environment) {
  std::string frame;  // made of the last answer
  std::optional<Failure> away;
  while (true) {
    const auto [style, height] = environment.style();
    const absl::Time now = style.now();
    NodeReports reports;
    away = source->ReadReports({.since = now - std::max(command.window, kTroubleAfterEnd),
                                .now = style.now,
                                .health = command.once},
                               &reports);
    std::string shown;
    if (away && (!style.nodes || reports.empty())) {
      if (frame.empty()) return away;
      shown = absl::StrCat(absl::StrJoin(WrapText(away->sentence, style.width), "\n"), "\n");
    } else {
      auto made = MakeFrame(reports, command, style, height, now);
      if (!made.ok()) return FromPrint(made.status());
      frame = *std::move(made);
    }
    std::vector<std::string> lines = absl::StrSplit(shown + frame, '\n');
    // A list of nodes that is printed once has all of them.
    const bool whole = style.nodes && !environment.live;
    lines.resize(whole ? lines.size() - 1 : std::min(lines.size() - 1, height));
    shown = absl::StrCat(environment.live ? kRedraw : "", absl::StrJoin(lines, "\n"), "\n");
    const absl::Status written = output->Write(shown);
    if (!written.ok()) return FromPrint(written);
    if (!environment.live) return away;
    if (environment.wait(command.interval)) return std::nullopt;
  }
}

}  // namespace vmeventd::client
