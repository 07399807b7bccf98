#include "client/output/formatter.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/output/event_text.h"
#include "client/output/time_text.h"
#include "client/output/trouble.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

// The members of a JSON object, by name; one without a value is omitted. Without a name: an object,
// whose members they are.
using Members = std::vector<std::pair<absl::string_view, absl::StatusOr<std::string>>>;
absl::StatusOr<std::string> ObjectOf(const Members& members) {
  std::vector<std::string> texts;
  for (const auto& [name, value] : members) {
    if (!value.ok()) return value;
    if (!name.empty() && !value->empty()) {
      texts.push_back(absl::StrCat("\"", name, "\":", *value));
    } else if (name.empty() && *value != "{}") {
      texts.push_back(value->substr(1, value->size() - 2));
    }
  }
  return absl::StrCat("{", absl::StrJoin(texts, ","), "}");
}

Color TypeColor(v1::EventType type) {
  switch (type) {
    case v1::EVENT_TYPE_STOPPED:
    case v1::EVENT_TYPE_STARTED:
      return Color::kBold;
    case v1::EVENT_TYPE_GUEST_PANICKED:
    case v1::EVENT_TYPE_WATCHDOG_EXPIRED:
    case v1::EVENT_TYPE_IO_ERROR:
    case v1::EVENT_TYPE_MEMORY_FAILURE:
      return Color::kRed;
    case v1::EVENT_TYPE_GAP:
    case v1::EVENT_TYPE_MONITOR_LOST:
      return Color::kYellow;
    default:
      return Color::kNone;
  }
}

// The end in one line: with its evidence in a wide table.
std::string EndLine(const v1::ShutdownDetail& shutdown, absl::string_view message, bool wide) {
  const std::string in_short = ShortEnd(shutdown);
  if (!wide) return in_short;
  const std::string evidence = absl::StrJoin(
      shutdown.evidence(), ", ",
      [](std::string* out, const v1::Evidence& one) { absl::StrAppend(out, one.what()); });
  return absl::StrCat(message.empty() ? absl::StrCat(in_short, ".")
                                      : IntentPrefix(shutdown) + EndSentence(shutdown, message),
                      evidence.empty() ? "" : absl::StrCat(" Seen: ", evidence, "."));
}

std::string WhatHappened(const v1::Event& event, bool wide) {
  if (event.has_shutdown()) return EndLine(event.shutdown(), event.message(), wide);
  std::string detail = event.message();
  if (detail.empty()) detail = event.qmp_event();
  // The message of a declaration has it.
  if (event.type() == v1::EVENT_TYPE_INTENT_WITHDRAWN && event.has_intent()) {
    absl::StrAppend(&detail, detail.empty() ? "" : "; ", "by ", event.intent().actor(), ": ",
                    event.intent().reason());
  }
  constexpr v1::EventType kOfState[] = {v1::EVENT_TYPE_STARTED, v1::EVENT_TYPE_PAUSED,
                                        v1::EVENT_TYPE_STATE_CHANGED,
                                        v1::EVENT_TYPE_MONITOR_RESTORED};
  const std::string why = PauseWords(event.pause_reason());
  if (!why.empty() && absl::c_linear_search(kOfState, event.type())) {
    absl::StrAppend(&detail, ": ", why);
  }
  return detail;
}

Cell ClassCell(const v1::ShutdownDetail& shutdown) {
  return {ClassWord(shutdown), ColorOf(shutdown.shutdown_class())};
}

// Of a row that has the day.
std::string DetailText(const v1::Event& event, absl::TimeZone zone, bool wide) {
  const std::string between =
      EndedBetween(event.shutdown(), FromProto(event.observe_time()), zone, /*names_day=*/false);
  return absl::StrCat(between, between.empty() ? "" : ": ", WhatHappened(event, wide));
}

// The present state of the VM, then its last end.
std::string WhyText(const NodeVm& one, bool wide) {
  std::vector<std::string> parts;
  if (one.vm.has_intent()) {
    parts.push_back(
        absl::StrCat("intent of ", one.vm.intent().actor(), ": ", one.vm.intent().reason()));
  }
  for (const v1::Problem& problem : one.vm.problems()) parts.push_back(problem.text());
  if (const std::string why = PauseWords(one.vm.pause_reason()); !why.empty()) {
    parts.push_back(absl::StrCat("paused ", why));
  }
  if (one.end() != nullptr) parts.push_back(EndLine(*one.end(), "", wide));
  return absl::StrJoin(parts, "; ");
}

// "-" for an empty text.
std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

// A node's state as it is shown.
Cell StateCell(const v1::NodeHeartbeat& node, absl::Time now) {
  const NodeState state = StateOf(node, now);
  if (state == NodeState::kStopped) return {"push stopped", Color::kDim};
  if (!node.other_journal_id().empty()) return {"name shared", Color::kRed};
  return state == NodeState::kUp ? Cell{"up", Color::kGreen} : Cell{"silent", Color::kRed};
}

std::string YesNo(bool value) { return value ? "yes" : "no"; }

}  // namespace

absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message,
                                   const MessageNode& node) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) {
    return absl::InternalError(
        absl::StrCat("a ", message.GetDescriptor()->name(),
                     " of the server cannot be written as JSON: ", std::string(status.message())));
  }
  if (node.name.empty()) return json;
  return ObjectOf({{"cluster", node.cluster.empty() ? "" : JsonText(node.cluster)},
                   {"node", JsonText(node.name)},
                   {"stale", node.stale_since ? "true" : ""},
                   {"", json}});
}

absl::StatusOr<std::string> ToJsonWithTexts(const NodeEvent& one, absl::TimeZone zone) {
  const std::string pause = PauseWords(one.event.pause_reason());
  return ObjectOf({{"", ToJson(one.event, one.node)},
                   {"detail", JsonText(DetailText(one.event, zone, /*wide=*/false))},
                   {"pause_text", pause.empty() ? "" : JsonText(pause)}});
}

std::string JsonText(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Color ColorOf(v1::VmState state) {
  switch (state) {
    case v1::VM_STATE_RUNNING:
      return Color::kGreen;
    case v1::VM_STATE_UNREACHABLE:
      return Color::kYellow;
    case v1::VM_STATE_STOPPED:
      return Color::kDim;
    default:
      return Color::kCyan;
  }
}

Color ColorOf(v1::ShutdownClass shutdown_class) {
  switch (shutdown_class) {
    case v1::SHUTDOWN_CLASS_USER:
      return Color::kGreen;
    case v1::SHUTDOWN_CLASS_ADMIN:
      return Color::kBlue;
    case v1::SHUTDOWN_CLASS_CRASH:
      return Color::kRed;
    case v1::SHUTDOWN_CLASS_UNKNOWN:
      return Color::kYellow;
    default:
      return Color::kNone;
  }
}

// Milliseconds are for wide tables. On a terminal a time of this year has no year.
std::string Formatter::TimeText(absl::Time time) const {
  if (style_.wide) return LocalTimeText(time, style_.zone);
  if (!style_.is_brief()) return absl::FormatTime("%Y-%m-%d %H:%M:%S", time, style_.zone);
  const bool this_year =
      absl::ToCivilYear(time, style_.zone) == absl::ToCivilYear(style_.now(), style_.zone);
  return absl::FormatTime(this_year ? "%b %d %H:%M:%S" : "%Y-%m-%d %H:%M", time, style_.zone);
}

std::string Formatter::SinceText(const google::protobuf::Timestamp& time) const {
  return time.seconds() == 0 ? "-" : TimeText(FromProto(time));
}

// A name widens its column to a limit; on a terminal a longer one is cut.
ColumnLayout::Column Formatter::NameColumn(const char* heading, size_t min_width) const {
  // 20 columns of 80; 13 beside those of another name.
  const size_t least = style_.nodes ? 12 : 20;
  const size_t share = style_.nodes ? 6 : 4;
  const size_t limit = LineLimit() == 0 ? SIZE_MAX : std::max(least, LineLimit() / share);
  return {heading, std::min(min_width, limit), limit, /*cut_middle=*/true};
}

Formatter::Row Formatter::EventRow(const NodeEvent& one, bool reserve) const {
  const auto least = [reserve](size_t width) { return reserve ? width : 0; };
  const size_t time_width = style_.wide ? 23 : style_.is_brief() ? 16 : 19;
  const size_t name_width = style_.width >= 100 ? 20 : style_.nodes ? 12 : 16;
  const v1::Event& event = one.event;
  const bool wide = style_.wide;
  Row row;
  row.Add({"TIME", least(time_width)}, {TimeText(FromProto(event.observe_time())), Color::kDim});
  if (style_.nodes) {
    row.Add(NameColumn("NODE", least(std::max<size_t>(LineLimit(), 12))), NodeCell(one.node));
  }
  if (wide) row.Add({"SEQUENCE"}, {absl::StrCat(event.sequence())});
  row.Add(NameColumn("VM", least(name_width)), {event.vm().name(), Color::kBold});
  row.Add({"EVENT", wide ? 22U : 10U},
          {wide ? ShortName(event.type()) : TableName(event.type()), TypeColor(event.type())});
  row.Add({"CLASS", 7}, event.has_shutdown() ? ClassCell(event.shutdown()) : Cell{});
  if (wide) {
    row.Add({"STATE", least(11)},
            {event.state() == v1::VM_STATE_UNSPECIFIED ? "" : ShortName(event.state()),
             ColorOf(event.state())});
    row.Add({"RUN", least(48)}, {event.vm().run_id()});
    row.Add({"LABELS", least(8)}, {OrDash(LabelsText(event.vm()))});
  }
  row.Add({"DETAIL"}, {absl::StrCat(event.durable() ? "" : "(not durable) ",
                                    DetailText(event, style_.zone, wide))});
  return row;
}

void Formatter::NoteCluster(const MessageNode& node) {
  if (cluster_.empty()) cluster_ = node.cluster;
  if (node.cluster != cluster_) several_clusters_ = true;
}

Cell Formatter::NodeCell(const MessageNode& node) const {
  return {several_clusters_ ? absl::StrCat(node.cluster, "/", node.name) : node.name};
}

absl::StatusOr<std::string> Formatter::Line(const std::string& name,
                                            const absl::StatusOr<std::string>& json) const {
  if (form_ == Form::kJson) return json.ok() && !json->empty() ? absl::StrCat(*json, "\n") : json;
  const std::string text = name.empty() ? "" : absl::StrCat(EscapeForTerminal(name), "\n");
  return style_.before.empty() ? text : absl::StrCat(text, style_.before, text);
}

template <typename List, typename NameOf, typename JsonOf, typename MakeRow>
absl::StatusOr<std::string> Formatter::FormatList(const List& list, const NameOf& name_of,
                                                  const JsonOf& json_of, const MakeRow& make_row,
                                                  std::optional<ColumnLayout>* layout) {
  using One = std::decay_t<decltype(*list.begin())>;
  std::string lines;
  if (form_ != Form::kTable) {
    for (const One& one : list) {
      auto line = form_ == Form::kName ? Line(name_of(one), "") : Line("", json_of(one));
      if (!line.ok()) return line;
      lines += *line;
    }
    return lines;
  }
  std::optional<ColumnLayout> own;
  if (layout == nullptr) layout = &own;
  std::vector<Row> rows;
  rows.reserve(static_cast<size_t>(list.size()));
  for (const One& one : list) rows.push_back(make_row(one));
  if (!layout->has_value()) {
    layout->emplace(make_row(One()).columns, painter_);
    for (const Row& row : rows) (*layout)->Fit(row.cells);
    const bool apart = std::exchange(shown_, true);
    if (style_.headings) {
      lines = absl::StrCat(apart ? "\n" : "", (*layout)->Heading(LineLimit()));
    }
  }
  for (const Row& row : rows) lines += (*layout)->Line(row.cells, LineLimit());
  return lines;
}

absl::StatusOr<std::string> Formatter::FormatEvents(Events events) {
  for (const NodeEvent& one : events) NoteCluster(one.node);
  return FormatList(
      events,
      [](const NodeEvent& one) { return one.event.vm().name(); },  // empty of the node's own
      [this](const NodeEvent& one) -> absl::StatusOr<std::string> {
        if (!style_.node_events && !one.event.has_vm()) return "";
        return style_.texts ? ToJsonWithTexts(one, style_.zone) : ToJson(one.event, one.node);
      },
      [this, &events](const NodeEvent& one) { return EventRow(one, events.empty()); },
      &event_layout_);
}

absl::StatusOr<std::string> Formatter::FormatVms(Vms vms) {
  for (const NodeVm& one : vms) NoteCluster(one.node);
  const bool ends = absl::c_any_of(vms, [](const NodeVm& one) { return one.ends.has_value(); });
  const auto json_of = [texts = style_.texts](const NodeVm& one) {
    const bool ended = one.ends.value_or(0) > 0;
    const std::string pause = PauseWords(one.vm.pause_reason());
    return ObjectOf(
        {{"", ToJson(one.vm, one.node)},
         {"ends", one.ends ? absl::StrCat(*one.ends) : ""},
         {"last_end", ended ? ToJson(one.last_end) : ""},
         {"last_end_time", ended ? JsonText(absl::FormatTime(absl::RFC3339_full, one.last_end_time,
                                                             absl::UTCTimeZone()))
                                 : ""},
         {"end_text", texts && one.end() != nullptr ? JsonText(ShortEnd(*one.end())) : ""},
         {"pause_text", texts && !pause.empty() ? JsonText(pause) : ""}});
  };
  // A column of UUIDs, or else of runs, tells VMs apart that have one name on a node.
  std::map<std::string, std::set<std::string>> ids;
  for (const NodeVm& one : vms) {
    const v1::VmRef& ref = one.vm.ref();
    ids[absl::StrCat(one.node.cluster, "/", one.node.name, "/", ref.name())].insert(
        ref.uuid().empty() ? ref.source() : ref.uuid());
  }
  const bool shared = absl::c_any_of(ids, [](const auto& of) { return of.second.size() > 1; });
  const auto make_row = [&](const NodeVm& one) {
    const v1::Vm& vm = one.vm;
    const std::string state = ShortName(vm.state());
    Row row;
    if (style_.nodes) row.Add(NameColumn("NODE"), NodeCell(one.node));
    row.Add(NameColumn("VM"), {vm.ref().name(), Color::kBold});
    const std::string& id = vm.ref().uuid().empty() ? vm.ref().run_id() : vm.ref().uuid();
    if (shared && !style_.wide) row.Add({"UUID"}, {OrDash(id)});
    row.Add({"STATE"}, one.node.stale_since ? Cell{absl::StrCat(state, " (stale)"), Color::kDim}
                                            : Cell{state, ColorOf(vm.state())});
    if (style_.wide) row.Add({"SINCE"}, {SinceText(vm.state_time())});
    if (style_.now) {
      const absl::Duration age = style_.now() - FromProto(vm.state_time());
      row.Add({"AGE"}, {vm.has_state_time() ? ShortDurationText(age) : "-"});
    }
    if (ends) row.Add({"ENDS"}, {one.ends ? absl::StrCat(*one.ends) : "-"});
    if (style_.wide) {
      row.Add({"PID"}, {vm.ref().pid() == 0 ? "-" : absl::StrCat(vm.ref().pid())});
      row.Add({"QEMU"}, {OrDash(vm.qemu_version())});
      row.Add({"RUN"}, {OrDash(vm.ref().run_id())});
      row.Add({"UUID"}, {OrDash(vm.ref().uuid())});
      row.Add({"LABELS"}, {OrDash(LabelsText(vm.ref()))});
      row.Add({"SOURCE"}, {OrDash(vm.ref().source())});
      row.Add({"MONITOR"}, {OrDash(vm.monitor_path())});
    }
    row.Add({"CLASS"}, one.end() != nullptr ? ClassCell(*one.end()) : Cell{});
    row.Add({"WHY"}, {WhyText(one, style_.wide)});
    return row;
  };
  return FormatList(
      vms, [](const NodeVm& one) { return one.vm.ref().name(); }, json_of, make_row);
}

absl::StatusOr<std::string> Formatter::FormatNodes(const NodeReports& reports, absl::Time now) {
  for (const NodeReport& report : reports) NoteCluster(report.node);
  const auto ends_of = [now](const NodeReport& report) {
    std::map<v1::ShutdownClass, int> ends;
    for (const NodeEvent& end : report.ends) {
      const bool recent = FromProto(end.event.observe_time()) > now - kCountedEnds;
      if (recent) ++ends[end.event.shutdown().shutdown_class()];
    }
    return ends;
  };
  const auto make_row = [&](const NodeReport& report) {
    const v1::GetServerInfoResponse& info = report.info;
    const bool known = report.problem.empty() || report.lag.has_value();
    const size_t troubled = TroubledVms(report, now).size();
    int sum = 0;
    int crashes = 0;
    for (const auto& [shutdown_class, count] : ends_of(report)) {
      sum += count;
      if (shutdown_class == v1::SHUTDOWN_CLASS_CRASH) crashes = count;
    }
    const auto or_dash = [known](const Cell& cell) { return known ? cell : Cell{"-"}; };
    const bool broken = !report.lag && !info.journal_writable();
    Row row;
    row.Add({"NODE"}, {NodeCell(report.node).text, Color::kBold});
    row.Add({"UP"}, !report.problem.empty() ? Cell{report.lag ? "SILENT" : "AWAY", Color::kRed}
                    : info.has_start_time()
                        ? Cell{ShortDurationText(now - FromProto(info.start_time()))}
                        : Cell{"yes", Color::kGreen});
    row.Add({"VMS"}, or_dash({absl::StrCat(info.vms())}));
    row.Add({"TROUBLE"},
            or_dash({absl::StrCat(troubled), troubled > 0 ? Color::kRed : Color::kNone}));
    row.Add({"ENDS-24H"},
            or_dash({absl::StrCat(report.all_ends ? "" : ">=", sum,
                                  crashes == 0 ? "" : absl::StrCat(", CRASH ", crashes)),
                     crashes > 0 ? Color::kRed : Color::kNone}));
    row.Add({"JOURNAL"}, or_dash(broken                   ? Cell{"NOT WRITABLE", Color::kRed}
                                 : !report.unread.empty() ? Cell{"NOT READABLE", Color::kRed}
                                 : report.lag             ? Cell{absl::StrCat("lag ", *report.lag)}
                                                          : Cell{"writable"}));
    row.Add({"VERSION"}, or_dash({info.version()}));
    if (style_.wide) row.Add({"PROBLEM"}, {OrDash(absl::StrCat(report.problem, report.unhealthy))});
    return row;
  };
  const auto json_of = [&](const NodeReport& report) -> absl::StatusOr<std::string> {
    nlohmann::ordered_json ends = nlohmann::ordered_json::object();
    for (const auto& [shutdown_class, count] : ends_of(report)) {
      ends[ShortName(shutdown_class)] = count;
    }
    nlohmann::ordered_json troubled = nlohmann::ordered_json::array();
    for (const NodeVm& one : TroubledVms(report, now)) {
      troubled.push_back({{"vm", one.vm.ref().name()},
                          {"run_id", one.vm.ref().run_id()},
                          {"state", ShortName(one.vm.state())},
                          {"why", TroubleText(one, now)}});
    }
    v1::GetServerInfoResponse info = report.info;
    if (!report.node.name.empty()) info.set_node(report.node.name);
    return ObjectOf(
        {{"cluster", report.node.cluster.empty() ? "" : JsonText(report.node.cluster)},
         {"", report.problem.empty() || report.lag ? ToJson(info)
                                                   : ObjectOf({{"node", JsonText(info.node())}})},
         {"reachable", report.problem.empty() ? "true" : "false"},
         {"problem", JsonText(report.problem.empty() ? report.unhealthy : report.problem)},
         {"lag", report.lag ? absl::StrCat("\"", *report.lag, "\"") : ""},
         {"trouble", JsonText(troubled)},
         {"ends_in_24h", JsonText(ends)}});
  };
  return FormatList(
      reports,
      [](const NodeReport& report) {
        return report.node.name.empty() ? report.info.node() : report.node.full_name();
      },
      json_of, make_row);
}

absl::StatusOr<std::string> Formatter::FormatCounts(const std::string& by, const NodeCounts& counts,
                                                    bool csv) {
  if (csv) {
    const auto quoted = [](absl::string_view text) {
      return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
    };
    std::string text = style_.headings ? absl::StrCat(by, ",events\n") : "";
    for (const NodeCount& one : counts) {
      absl::StrAppend(&text, quoted(EscapeForTerminal(one.key)), ",", one.events, "\n");
    }
    return text;
  }
  const auto make_row = [&by](const NodeCount& one) {
    Row row;
    row.Add({"EVENTS", 6}, {absl::StrCat(one.events)});
    row.Add({absl::AsciiStrToUpper(by)}, {one.key, Color::kBold});
    return row;
  };
  return FormatList(
      counts, [](const NodeCount& one) { return one.key; },
      [&by](const NodeCount& one) {
        return ObjectOf({{by, JsonText(one.key)}, {"events", absl::StrCat(one.events)}});
      },
      make_row);
}

std::string Formatter::FormatTrouble(Vms vms, absl::Time now, size_t max) {
  if (vms.empty()) return "";
  const Vms shown = vms.subspan(0, max);
  for (const NodeVm& one : shown) NoteCluster(one.node);
  const auto make_row = [&](const NodeVm& one) {
    Row row;
    if (style_.nodes) row.Add(NameColumn("NODE"), NodeCell(one.node));
    row.Add(NameColumn("IN TROUBLE"), {one.vm.ref().name(), Color::kBold});
    row.Add({"STATE"}, {ShortName(one.vm.state()), ColorOf(one.vm.state())});
    const absl::Duration age = now - FromProto(one.vm.state_time());
    row.Add({"AGE"}, {one.vm.has_state_time() ? ShortDurationText(age) : "-"});
    row.Add({"CAUSE"}, {TroubleText(one, now)});
    return row;
  };
  const auto table = FormatList(
      shown, [](const NodeVm&) { return ""; }, [](const NodeVm&) { return ""; }, make_row);
  std::string names;
  for (const NodeVm& one : shown) {
    absl::StrAppend(&names, " ", EscapeForTerminal(QuoteForShell(one.vm.ref().name())));
  }
  const std::string more = vms.size() == shown.size()
                               ? ""
                               : absl::StrCat("and ", vms.size() - shown.size(),
                                              " more: ", style_.client, " vms --trouble\n");
  return absl::StrCat(*table, more, "why: ", style_.client, " why", names, "\n");
}

absl::StatusOr<std::string> Formatter::FormatIntents(Vms vms) {
  for (const NodeVm& one : vms) NoteCluster(one.node);
  const auto make_row = [this](const NodeVm& one) {
    const v1::Intent& intent = one.vm.intent();
    Row row;
    if (style_.nodes) row.Add(NameColumn("NODE"), NodeCell(one.node));
    row.Add({"INTENT"}, {intent.intent_id()});
    row.Add({"VM"}, {one.vm.ref().name(), Color::kBold});
    row.Add({"ACTOR"}, {intent.actor()});
    row.Add({"EXPIRES"}, {SinceText(intent.expire_time())});
    row.Add({"REASON"}, {intent.reason()});
    return row;
  };
  return FormatList(
      vms, [](const NodeVm& one) { return one.vm.intent().intent_id(); },
      [](const NodeVm& one) {
        return ObjectOf({{"node", one.node.name.empty() ? "" : JsonText(one.node.name)},
                         {"vm", ToJson(one.vm.ref())},
                         {"", ToJson(one.vm.intent())}});
      },
      make_row);
}

absl::StatusOr<std::string> Formatter::FormatInfo(const v1::GetServerInfoResponse& info) {
  if (form_ != Form::kTable) return Line(info.node(), ToJson(info));
  FactList facts(painter_);
  const auto add = [&facts](const char* name, const std::string& value, const std::string& problem,
                            bool warn) {
    facts.Add(name, problem.empty() ? value : absl::StrCat(value, ": ", problem),
              warn ? Color::kYellow : Color::kNone);
  };
  facts.Add("version", info.version());
  facts.Add("node", info.node());
  if (!info.waits_for().empty()) {
    facts.Add("starting", absl::StrCat("waits for ", info.waits_for()), Color::kYellow);
    facts.Add("started", SinceText(info.start_time()));
    return absl::StrCat(std::exchange(shown_, true) ? "\n" : "", facts.Take());
  }
  facts.Add("node id", info.node_id());
  facts.Add("started", SinceText(info.start_time()));
  facts.Add("journal", info.journal_id());
  add("writable", YesNo(info.journal_writable()), info.journal_problem(), !info.journal_writable());
  facts.Add("stored", StoredEvents(info, style_.zone));
  facts.Add("oldest event", absl::StrCat(info.oldest_sequence()));
  facts.Add("newest event", absl::StrCat(info.newest_sequence()));
  facts.Add("VMs", absl::StrCat(info.vms()));
  facts.Add("streams", absl::StrCat(info.streams()));
  facts.Add("exit status", info.exit_status_source());
  if (info.has_signal_senders()) {
    const v1::SignalSenderWatch& senders = info.signal_senders();
    add("signal senders", YesNo(senders.active()), senders.problem(), !senders.problem().empty());
  }
  if (info.has_host_shutdown()) {
    const v1::HostShutdownWatch& host = info.host_shutdown();
    add("host shutdown",
        host.shutting_down() ? "shutting down now"
        : host.active()      ? "seen"
                             : "not seen",
        host.problem(), host.shutting_down());
  }
  for (const v1::WatchedDirectory& directory : info.directories()) {
    facts.Add("watched",
              absl::StrCat(directory.path(), ":", directory.pattern(), "  ",
                           directory.has_problem() ? directory.problem().text()
                           : directory.present()   ? Count(directory.sockets(), "socket")
                                                   : "missing"),
              directory.present() ? Color::kNone : Color::kYellow);
  }
  for (const v1::UnfollowedSocket& socket : info.unfollowed_sockets()) {
    facts.Add("without a VM", absl::StrCat(socket.path(), "  ", socket.problem().text()),
              Color::kYellow);
  }
  if (info.unfollowed_sockets_size() >= kMaxUnfollowed) {
    facts.Add("without a VM",
              absl::StrCat("possibly more: vmeventd lists at most ", kMaxUnfollowed),
              Color::kYellow);
  }
  for (const v1::LibvirtConnection& connection : info.libvirt_connections()) {
    const std::string state =
        connection.connected() ? Count(connection.domains(), "domain")
                               : absl::StrCat("not connected since ", SinceText(connection.since()),
                                              ": ", connection.problem().text());
    facts.Add("libvirt", absl::StrCat(connection.uri(), "  ", state),
              connection.connected() ? Color::kNone : Color::kYellow);
  }
  return absl::StrCat(std::exchange(shown_, true) ? "\n" : "", facts.Take());
}

absl::StatusOr<std::string> Formatter::FormatStreams(const std::vector<NodeStream>& streams) {
  const auto make_row = [this](const NodeStream& one) {
    const v1::Stream& stream = one.stream;
    const std::string names = absl::StrJoin(stream.certificate_names(), ", ");
    Row row;
    if (style_.nodes) row.Add(NameColumn("NODE"), NodeCell(one.node));
    row.Add({"STREAM"}, {stream.stream_id()});
    row.Add({"CLIENT"}, {names.empty() ? stream.peer() : names, Color::kBold});
    row.Add({"OPEN"}, {SinceText(stream.open_time())});
    row.Add({"SEQUENCE"}, {absl::StrCat(stream.sequence())});
    row.Add({"LAG"},
            {absl::StrCat(stream.lag()), stream.lag() > 0 ? Color::kYellow : Color::kNone});
    row.Add({"FILTER"}, {OrDash(stream.filter().ShortDebugString())});
    return row;
  };
  return FormatList(
      streams, [](const NodeStream& one) { return one.stream.stream_id(); },
      [](const NodeStream& one) { return ToJson(one.stream, one.node); }, make_row);
}

absl::StatusOr<std::string> Formatter::FormatHealth(absl::string_view node,
                                                    absl::string_view service,
                                                    const Health& health) {
  const std::string& name = Health::ServingStatus_Name(health.status());
  if (form_ != Form::kTable) {
    const std::string text(service.empty() ? node : service);
    return Line(text.empty() ? name : text,
                ObjectOf({{"node", node.empty() ? "" : JsonText(std::string(node))},
                          {"service", service.empty() ? "" : JsonText(std::string(service))},
                          {"", ToJson(health)}}));
  }
  std::string line;
  if (!node.empty()) line = absl::StrFormat("%-16s  ", EscapeForTerminal(node));
  if (!service.empty()) absl::StrAppendFormat(&line, "%-8s  ", service);
  return absl::StrCat(line, name.empty() ? absl::StrCat(health.status()) : name, "\n");
}

NodeState StateOf(const v1::NodeHeartbeat& node, absl::Time now) {
  constexpr int kMissedIntervals = 3;
  if (!node.has_interval()) return NodeState::kStopped;
  const absl::Time due = FromProto(node.time()) + kMissedIntervals * FromProto(node.interval());
  return due < now ? NodeState::kSilent : NodeState::kUp;
}

absl::StatusOr<std::string> Formatter::FormatFleet(const Heartbeats& nodes, absl::Time now) {
  const bool clusters = absl::c_any_of(nodes, [&nodes](const v1::NodeHeartbeat& node) {
    return node.cluster() != nodes[0].cluster();
  });
  const auto make_row = [&](const v1::NodeHeartbeat& node) {
    const uint64_t lag = LagOf(node);
    Row row;
    if (clusters || style_.wide) row.Add({"CLUSTER"}, {node.cluster()});
    row.Add({"NODE"}, {node.node(), Color::kBold});
    row.Add({"STATE"}, StateCell(node, now));
    row.Add({"SEEN"}, {SinceText(node.time())});
    row.Add({"LAST EVENT"}, {SinceText(node.newest_event_time())});
    row.Add({"LAG"}, {absl::StrCat(lag), lag == 0 ? Color::kNone : Color::kYellow});
    row.Add({"VMS"}, {absl::StrCat(node.vms())});
    if (style_.wide) {
      row.Add({"NEWEST"}, {absl::StrCat(node.newest_sequence())});
      row.Add({"PUBLISHED"}, {absl::StrCat(node.published_sequence())});
    }
    row.Add({"VERSION"}, {node.version()});
    row.Add({"JOURNAL"}, {node.journal_id()});
    return row;
  };
  return FormatList(
      nodes,
      [](const v1::NodeHeartbeat& node) { return absl::StrCat(node.cluster(), "/", node.node()); },
      [now](const v1::NodeHeartbeat& node) {
        return ObjectOf({{"", ToJson(node)},
                         {"lag", absl::StrCat("\"", LagOf(node), "\"")},
                         {"state", JsonText(StateCell(node, now).text)}});
      },
      make_row);
}

absl::StatusOr<std::string> Formatter::FormatWhy(const VmStory& story) {
  if (form_ == Form::kTable) {
    return absl::StrCat(std::exchange(shown_, true) ? "\n" : "", StoryText(story, style_));
  }
  nlohmann::ordered_json ends = nlohmann::ordered_json::object();
  for (const auto& [shutdown_class, count] : story.ends) ends[ShortName(shutdown_class)] = count;
  return Line(story.name,
              ObjectOf({{"name", JsonText(story.name)},
                        {"vm", story.vm ? ToJson(story.vm->vm, story.vm->node) : ""},
                        {"last_end", story.end ? ToJson(story.end->event, story.end->node) : ""},
                        {"ends_in_24h", JsonText(ends)},
                        {"text", style_.texts ? JsonText(StoryText(story, style_)) : ""}}));
}

}  // namespace vmeventd::client
