#include "client/commands/timeline.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/civil_time.h"
#include "client/output/enum_names.h"
#include "client/output/formatter.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

// The states of one run that are listed.
constexpr size_t kMostListed = 50;

const char* BlockOf(v1::VmState state) {
  switch (state) {
    case v1::VM_STATE_RUNNING:
      return "\u2588";  // a full block
    case v1::VM_STATE_PAUSED:
      return "\u2592";  // a medium shade
    case v1::VM_STATE_SUSPENDED:
      return "\u2591";  // a light shade
    case v1::VM_STATE_GUEST_DOWN:
      return "\u2584";  // a lower half
    case v1::VM_STATE_UNREACHABLE:
      return "?";
    default:
      return "-";
  }
}

v1::VmState StateAfter(const v1::Event& event) {
  if (event.type() == v1::EVENT_TYPE_STOPPED) return v1::VM_STATE_STOPPED;
  // The event of a version without the field.
  if (event.type() == v1::EVENT_TYPE_STARTED && event.state() == v1::VM_STATE_UNSPECIFIED) {
    return v1::VM_STATE_RUNNING;
  }
  return event.state();
}

// A bar with one character for each part of the time from `first` to `last`.
std::string Bar(const TimelineRun& run, absl::Time first, absl::Time last,
                const TimelineStyle& style) {
  const Painter painter(style.color);
  const double columns = static_cast<double>(std::max<size_t>(style.width, 20) - 2);
  const absl::Duration all = std::max(last - first, absl::Milliseconds(1));
  const auto column_of = [&](absl::Time time) {
    return static_cast<size_t>(absl::FDivDuration(time - first, all) * columns);
  };
  const size_t begin = column_of(run.spans.front().from);
  std::string bar(begin + 2, ' ');
  size_t column = begin;
  for (const TimelineSpan& span : run.spans) {
    // A state too short for a column has none, but a run has at least one.
    const bool last_span = &span == &run.spans.back();
    const size_t end = std::max(column_of(span.to), last_span ? begin + 1 : column);
    std::string blocks;
    for (; column < end; ++column) blocks += BlockOf(span.state);
    bar += painter.Paint(blocks, ColorOf(span.state));
  }
  return absl::StrCat(bar, "\n");
}

std::string Heading(const TimelineRun& run, const TimelineStyle& style) {
  const Painter painter(style.color);
  const absl::Duration length = run.spans.back().to - run.spans.front().from;
  std::string heading =
      absl::StrCat(painter.Paint(LocalTimeText(run.spans.front().from, style.zone), Color::kBold),
                   "  for ", DurationText(length), ", ");
  if (!run.ended) return absl::StrCat(heading, "goes on\n");
  return absl::StrCat(heading,
                      painter.Paint(ClassWord(run.shutdown), ColorOf(run.shutdown.class_())), ": ",
                      CauseWords(run.shutdown.cause()), "\n");
}

std::string States(const TimelineRun& run, const TimelineStyle& style) {
  ColumnLayout layout({{"", 12}, {"", 11}, {"", 8}, {""}}, Painter(style.color));
  std::string text;
  const size_t hidden = run.spans.size() - std::min(run.spans.size(), kMostListed);
  if (hidden > 0) absl::StrAppend(&text, "  ", hidden, " earlier states are left out\n");
  absl::CivilDay day = absl::ToCivilDay(run.spans.front().from, style.zone);  // the heading's
  for (size_t i = hidden; i < run.spans.size(); ++i) {
    const TimelineSpan& span = run.spans[i];
    const absl::CivilDay begun = absl::ToCivilDay(span.from, style.zone);
    if (begun != day) absl::StrAppend(&text, "  ", absl::FormatCivilTime(begun), "\n");
    day = begun;
    absl::StrAppend(&text, "  ",
                    layout.Line({{ClockText(span.from, style.zone), Color::kDim},
                                 {ShortName(span.state), ColorOf(span.state)},
                                 {DurationText(span.to - span.from)},
                                 {span.why}}));
  }
  return text;
}

std::string Key(const std::vector<TimelineRun>& runs) {
  std::set<v1::VmState> states;
  for (const TimelineRun& run : runs) {
    for (const TimelineSpan& span : run.spans) states.insert(span.state);
  }
  std::string key;
  for (const v1::VmState state : states) {
    absl::StrAppend(&key, key.empty() ? "" : "  ", BlockOf(state), " ", ShortName(state));
  }
  return absl::StrCat(key, "\n");
}

}  // namespace

std::vector<TimelineRun> RunsOf(const NodeEvents& events, absl::Time now) {
  std::vector<TimelineRun> runs;
  for (const NodeEvent& one : events) {
    const v1::Event& event = one.event;
    const v1::VmState state = StateAfter(event);
    if (!event.has_vm() || state == v1::VM_STATE_UNSPECIFIED) continue;
    auto run = std::find_if(runs.begin(), runs.end(), [&event](const TimelineRun& known) {
      return known.run_id == event.vm().run_id();
    });
    if (run == runs.end())
      run = runs.insert(runs.end(), TimelineRun{event.vm().run_id(), {}, false, {}});
    absl::Time time = FromProto(event.observe_time());
    if (!run->spans.empty()) {
      // The node's clock may have been set back.
      time = std::max(time, run->spans.back().from);
      run->spans.back().to = time;
    }
    if (state == v1::VM_STATE_STOPPED) {
      run->ended = true;
      run->shutdown = event.shutdown();
      // The first event that is retained may be the last of its run.
      if (run->spans.empty()) run->spans.push_back({v1::VM_STATE_UNSPECIFIED, time, time, ""});
    } else if (run->spans.empty() || run->spans.back().state != state) {
      run->spans.push_back({state, time, time, ShortName(event.type())});
    }
  }
  for (TimelineRun& run : runs) {
    if (!run.ended) run.spans.back().to = std::max(run.spans.back().from, now);
  }
  return runs;
}

std::string TimelineText(const std::string& name, const std::vector<TimelineRun>& runs,
                         const TimelineStyle& style) {
  absl::Time first = absl::InfiniteFuture();
  absl::Time last = absl::InfinitePast();
  for (const TimelineRun& run : runs) {
    first = std::min(first, run.spans.front().from);
    last = std::max(last, run.spans.back().to);
  }
  std::string text = absl::StrCat(Painter(style.color).Paint(EscapeForTerminal(name), Color::kBold),
                                  ": ", runs.size(), runs.size() == 1 ? " run" : " runs", " in ",
                                  DurationText(last - first), "\n");
  for (const TimelineRun& run : runs) {
    absl::StrAppend(&text, "\n", Heading(run, style), Bar(run, first, last, style),
                    States(run, style));
  }
  return absl::StrCat(text, "\n", Key(runs));
}

EventsCommand EventsOf(const TimelineCommand& command) {
  constexpr uint64_t kMostEvents = 100'000;  // limit of events in memory
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
  NodeEvents events;
  auto failure = DaemonLists(context).ReadEvents(EventsOf(command), [&](NodeEvents* page) {
    std::erase_if(*page, [&command](const NodeEvent& one) {
      return !command.run_id.empty() && one.event.vm().run_id() != command.run_id;
    });
    Append(page, &events);
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
