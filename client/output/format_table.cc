#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/output/enum_names.h"
#include "client/output/formatter.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

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

std::string Problems(const v1::Vm& vm) {
  return absl::StrJoin(vm.problems(), "; ", [](std::string* out, const v1::Problem& problem) {
    absl::StrAppend(out, EscapeForTerminal(problem.text()));
  });
}

// Returns whether somebody acts where a VM ends so.
bool IsAct(v1::ShutdownCause cause) {
  switch (cause) {
    case v1::SHUTDOWN_CAUSE_HOST_SIGNAL:
    case v1::SHUTDOWN_CAUSE_HOST_KILL:
    case v1::SHUTDOWN_CAUSE_HOST_DESTROY:
    case v1::SHUTDOWN_CAUSE_HOST_SHUTDOWN:
    case v1::SHUTDOWN_CAUSE_QEMU_KILLED:
    case v1::SHUTDOWN_CAUSE_OUT_OF_MEMORY:
      return true;
    default:
      return false;
  }
}

// Who intended it and why; the cause; and the sender of a signal, where that is who did it, or the
// exit status where that says more: "host kill by virtqemud", "qemu crashed, SIGSEGV".
std::string ShortEnd(const v1::ShutdownDetail& shutdown) {
  std::string text = shutdown.has_intent()
                         ? absl::StrCat(EscapeForTerminal(shutdown.intent().actor()), ": ",
                                        EscapeForTerminal(shutdown.intent().reason()), "; ")
                         : "";
  text += CauseWords(shutdown.cause());
  if (shutdown.has_sender() && IsAct(shutdown.cause())) {
    absl::StrAppend(&text, " by ", SenderName(shutdown.sender()));
  } else if (shutdown.exit_signal().number() != 0) {
    absl::StrAppend(&text, ", ", SignalName(shutdown.exit_signal().number()));
  } else if (shutdown.exit_code() != 0) {
    absl::StrAppend(&text, ", exit ", shutdown.exit_code());
  }
  return text;
}

std::string WhatHappened(const v1::Event& event, bool wide) {
  if (event.has_shutdown()) {
    return wide ? ShutdownSentence(event.shutdown(), event.message()) : ShortEnd(event.shutdown());
  }
  std::string detail = EscapeForTerminal(event.message());
  if (detail.empty()) detail = EscapeForTerminal(event.qmp_event());
  // The message of a declaration says it.
  if (event.has_intent() && !absl::StrContains(event.message(), event.intent().reason())) {
    absl::StrAppend(&detail, detail.empty() ? "" : "; ", "by ",
                    EscapeForTerminal(event.intent().actor()), ": ",
                    EscapeForTerminal(event.intent().reason()));
  }
  return detail;
}

Cell ClassCell(const v1::ShutdownDetail& shutdown) {
  return {ClassWord(shutdown), ColorOf(shutdown.shutdown_class())};
}

// The present state of the VM, then its last end. Evidence is for wide tables.
std::string WhyText(const NodeVm& one, bool wide) {
  std::vector<std::string> parts;
  if (one.vm.has_intent()) {
    parts.push_back(absl::StrCat("intent of ", EscapeForTerminal(one.vm.intent().actor()), ": ",
                                 EscapeForTerminal(one.vm.intent().reason())));
  }
  if (one.vm.problems_size() > 0) parts.push_back(Problems(one.vm));
  if (const v1::ShutdownDetail* end = one.end()) {
    parts.push_back(wide ? ShutdownSentence(*end, "") : ShortEnd(*end));
  }
  return absl::StrJoin(parts, "; ");
}

std::string TimeOrDash(bool known, const google::protobuf::Timestamp& time, absl::TimeZone zone) {
  return known ? LocalTimeText(FromProto(time), zone) : "-";
}

// Most servers have one source: a column would say the same of every VM.
bool HasSeveralSources(Formatter::Vms vms) {
  return std::any_of(vms.begin(), vms.end(), [&](const NodeVm& one) {
    return one.vm.ref().source() != vms[0].vm.ref().source();
  });
}

// "qemu:///system  2 domains".
std::string ConnectionText(const v1::LibvirtConnection& connection, absl::TimeZone zone) {
  const std::string uri = EscapeForTerminal(connection.uri());
  if (connection.connected()) {
    return absl::StrCat(uri, "  ", connection.domains(),
                        connection.domains() == 1 ? " domain" : " domains");
  }
  return absl::StrCat(uri, "  not connected since ",
                      TimeOrDash(connection.has_since(), connection.since(), zone), ": ",
                      EscapeForTerminal(connection.problem().text()));
}

std::string YesNo(bool value) { return value ? "yes" : "no"; }

}  // namespace

std::string SenderName(const v1::SignalSender& sender) {
  if (sender.kernel()) return "the kernel";
  return sender.command().empty() ? absl::StrCat("pid ", sender.pid())
                                  : EscapeForTerminal(sender.command());
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

std::string ShutdownSentence(const v1::ShutdownDetail& shutdown, absl::string_view message) {
  std::string sentence = CauseWords(shutdown.cause());
  // The class has its own column.
  absl::ConsumePrefix(&message, absl::StrCat(ShortName(shutdown.shutdown_class()), ": "));
  if (!message.empty()) absl::StrAppend(&sentence, ": ", EscapeForTerminal(message));
  std::vector<std::string> seen;
  bool named = true;  // the message names all evidence
  for (const v1::Evidence& evidence : shutdown.evidence()) {
    seen.push_back(EscapeForTerminal(evidence.what()));
    named = named && absl::StrContains(message, evidence.what());
  }
  if (named) return sentence;
  return absl::StrCat(sentence, " (seen: ", absl::StrJoin(seen, ", then "), ")");
}

namespace {

// Limit to which a name widens its column; on a terminal a longer one is cut.
size_t LongestName(const TableStyle& style) {
  return style.width == 0 || style.wide ? SIZE_MAX : 24;
}

// `reserve`: the widths are those of usual rows, for rows that come one by one. Otherwise the rows
// at hand widen the columns.
std::vector<ColumnLayout::Column> EventColumns(const TableStyle& style, bool reserve) {
  const auto least = [reserve](size_t width) { return reserve ? width : 0; };
  const size_t name = style.width < 100 ? (style.nodes ? 12 : 16) : 20;
  std::vector<ColumnLayout::Column> columns;
  columns.push_back({"TIME", least(style.wide ? 23 : style.is_brief() ? 16 : 19)});
  if (style.nodes) columns.push_back({"NODE", least(std::max<size_t>(style.node_width, 12))});
  if (style.wide) columns.push_back({"SEQUENCE"});
  columns.push_back({"VM", least(name), LongestName(style)});
  columns.push_back({"EVENT", style.wide ? 22U : 10U});
  columns.push_back({"CLASS", 7});
  if (style.wide)
    columns.insert(columns.end(), {{"STATE", least(11)}, {"RUN", least(48)}, {"LABELS", least(8)}});
  columns.push_back({"DETAIL"});
  return columns;
}

Cell LabelsCell(const v1::VmRef& vm) {
  return {vm.labels().empty() ? "-" : EscapeForTerminal(LabelsText(vm))};
}

std::vector<ColumnLayout::Column> VmColumns(const TableStyle& style, bool ends) {
  std::vector<ColumnLayout::Column> columns;
  if (style.nodes) columns.push_back({"NODE"});
  columns.push_back({"VM", 0, LongestName(style)});
  columns.push_back({"STATE"});
  if (style.wide) columns.push_back({"SINCE"});
  if (style.now) columns.push_back({"AGE"});
  if (ends) columns.push_back({"ENDS"});
  if (style.wide) {
    columns.insert(columns.end(), {{"PID"}, {"QEMU"}, {"RUN"}, {"UUID"}, {"LABELS"}, {"MONITOR"}});
  }
  columns.insert(columns.end(), {{"CLASS"}, {"WHY"}});
  return columns;
}

}  // namespace

// Milliseconds are for wide tables. On a terminal the year is left out of a time of this year.
std::string TableFormatter::TimeText(absl::Time time) const {
  if (style_.wide) return LocalTimeText(time, zone_);
  if (!style_.is_brief()) return absl::FormatTime("%Y-%m-%d %H:%M:%S", time, zone_);
  const bool this_year = absl::ToCivilYear(time, zone_) == absl::ToCivilYear(style_.now(), zone_);
  return absl::FormatTime(this_year ? "%b %d %H:%M:%S" : "%Y-%m-%d %H:%M", time, zone_);
}

std::string TableFormatter::SinceText(bool known, const google::protobuf::Timestamp& time) const {
  return known ? TimeText(FromProto(time)) : "-";
}

std::vector<Cell> TableFormatter::EventRow(const v1::Event& event, const MessageNode& node) const {
  std::vector<Cell> row;
  row.push_back({TimeText(FromProto(event.observe_time())), Color::kDim});
  if (style_.nodes) row.push_back(NodeCell(node));
  if (style_.wide) row.push_back({absl::StrCat(event.sequence())});
  row.push_back({EscapeForTerminal(event.vm().name()), Color::kBold});
  row.push_back(
      {style_.wide ? ShortName(event.type()) : TableName(event.type()), TypeColor(event.type())});
  row.push_back(event.has_shutdown() ? ClassCell(event.shutdown()) : Cell{});
  if (style_.wide) {
    row.push_back({event.state() == v1::VM_STATE_UNSPECIFIED ? "" : ShortName(event.state()),
                   ColorOf(event.state())});
    row.push_back({EscapeForTerminal(event.vm().run_id())});
    row.push_back(LabelsCell(event.vm()));
  }
  row.push_back(
      {absl::StrCat(event.durable() ? "" : "(not durable) ", WhatHappened(event, style_.wide))});
  return row;
}

std::vector<Cell> TableFormatter::VmRow(const NodeVm& one, bool ends) const {
  const v1::Vm& vm = one.vm;
  std::vector<Cell> row;
  if (style_.nodes) row.push_back(NodeCell(one.node));
  row.push_back({EscapeForTerminal(vm.ref().name()), Color::kBold});
  if (one.node.stale_since) {
    row.push_back({absl::StrCat(ShortName(vm.state()), " (stale)"), Color::kDim});
  } else {
    row.push_back({ShortName(vm.state()), ColorOf(vm.state())});
  }
  if (style_.wide) row.push_back({SinceText(vm.has_state_time(), vm.state_time())});
  if (style_.now) {
    const absl::Duration age = style_.now() - FromProto(vm.state_time());
    row.push_back({vm.has_state_time() ? ShortDurationText(age) : "-"});
  }
  if (ends) row.push_back({one.ends ? absl::StrCat(*one.ends) : "-"});
  if (style_.wide) {
    row.push_back({vm.ref().pid() == 0 ? "-" : absl::StrCat(vm.ref().pid())});
    row.push_back({vm.qemu_version().empty() ? "-" : EscapeForTerminal(vm.qemu_version())});
    row.push_back({EscapeForTerminal(vm.ref().run_id())});
    row.push_back({vm.ref().uuid().empty() ? "-" : EscapeForTerminal(vm.ref().uuid())});
    row.push_back(LabelsCell(vm.ref()));
    row.push_back({EscapeForTerminal(vm.monitor_path())});
  }
  row.push_back(one.end() != nullptr ? ClassCell(*one.end()) : Cell{});
  row.push_back({WhyText(one, style_.wide)});
  return row;
}

std::string TableFormatter::EventHeading() {
  if (!event_layout_) event_layout_.emplace(EventColumns(style_, /*reserve=*/true), painter_);
  if (!style_.headings) return "";
  return absl::StrCat(vms_shown_ ? "\n" : "", event_layout_->Heading(LineLimit()));
}

void TableFormatter::NoteCluster(const MessageNode& node) {
  if (cluster_.empty()) cluster_ = node.cluster;
  if (node.cluster != cluster_) several_clusters_ = true;
}

Cell TableFormatter::NodeCell(const MessageNode& node) const {
  return {EscapeForTerminal(several_clusters_ ? absl::StrCat(node.cluster, "/", node.name)
                                              : node.name)};
}

absl::StatusOr<std::string> TableFormatter::FormatEvents(Events events) {
  for (const NodeEvent& one : events) NoteCluster(one.node);
  if (!event_layout_) event_layout_.emplace(EventColumns(style_, /*reserve=*/false), painter_);
  std::vector<std::vector<Cell>> rows;
  rows.reserve(events.size());
  for (const NodeEvent& one : events) rows.push_back(EventRow(one.event, one.node));
  return event_layout_->Rows(rows, LineLimit());
}

std::string TableFormatter::Table(std::vector<ColumnLayout::Column> columns,
                                  const std::vector<std::vector<Cell>>& rows) const {
  ColumnLayout layout(std::move(columns), painter_);
  const std::string lines = layout.Rows(rows, LineLimit());
  return absl::StrCat(style_.headings ? layout.Heading(LineLimit()) : "", lines);
}

absl::StatusOr<std::string> TableFormatter::FormatVms(Vms vms) {
  for (const NodeVm& one : vms) NoteCluster(one.node);
  const bool sources = HasSeveralSources(vms);
  const int source_at = style_.nodes ? 2 : 1;  // follows the name
  const bool ends =
      std::any_of(vms.begin(), vms.end(), [](const NodeVm& one) { return one.ends.has_value(); });
  std::vector<ColumnLayout::Column> columns = VmColumns(style_, ends);
  if (sources) columns.insert(columns.begin() + source_at, {"SOURCE"});
  std::vector<std::vector<Cell>> rows;
  rows.reserve(vms.size());
  for (const NodeVm& one : vms) {
    rows.push_back(VmRow(one, ends));
    if (!sources) continue;
    const std::string source = EscapeForTerminal(one.vm.ref().source());
    rows.back().insert(rows.back().begin() + source_at, Cell{source.empty() ? "-" : source});
  }
  vms_shown_ = true;
  return Table(std::move(columns), rows);
}

absl::StatusOr<std::string> TableFormatter::FormatIntents(Vms vms) {
  std::vector<std::vector<Cell>> rows;
  rows.reserve(vms.size());
  for (const NodeVm& one : vms) {
    const v1::Intent& intent = one.vm.intent();
    rows.push_back({{EscapeForTerminal(intent.intent_id())},
                    {EscapeForTerminal(one.vm.ref().name()), Color::kBold},
                    {EscapeForTerminal(intent.actor())},
                    {SinceText(intent.has_expire_time(), intent.expire_time())},
                    {EscapeForTerminal(intent.reason())}});
  }
  return Table({{"INTENT"}, {"VM"}, {"ACTOR"}, {"EXPIRES"}, {"REASON"}}, rows);
}

absl::StatusOr<std::string> TableFormatter::FormatIntent(const v1::Intent& intent) {
  FactList facts(painter_);
  facts.Add("intent", EscapeForTerminal(intent.intent_id()), Color::kBold);
  facts.Add("actor", EscapeForTerminal(intent.actor()));
  facts.Add("declared by", EscapeForTerminal(intent.declared_by()));
  facts.Add("reason", EscapeForTerminal(intent.reason()));
  facts.Add("expires", TimeOrDash(intent.has_expire_time(), intent.expire_time(), zone_));
  return facts.Take();
}

absl::StatusOr<std::string> TableFormatter::FormatInfo(const v1::GetServerInfoResponse& info) {
  FactList facts(painter_);
  facts.Add("version", EscapeForTerminal(info.version()));
  facts.Add("node", EscapeForTerminal(info.node()));
  facts.Add("node id", EscapeForTerminal(info.node_id()));
  facts.Add("started", TimeOrDash(info.has_start_time(), info.start_time(), zone_));
  facts.Add("journal", EscapeForTerminal(info.journal_id()));
  facts.Add("writable", YesNo(info.journal_writable()),
            info.journal_writable() ? Color::kNone : Color::kYellow);
  facts.Add("oldest event", absl::StrCat(info.oldest_sequence()));
  facts.Add("newest event", absl::StrCat(info.newest_sequence()));
  facts.Add("VMs", absl::StrCat(info.vms()));
  facts.Add("streams", absl::StrCat(info.streams()));
  facts.Add("exit status", EscapeForTerminal(info.exit_status_source()));
  if (info.has_signal_senders()) {
    const v1::SignalSenderWatch& senders = info.signal_senders();
    facts.Add("signal senders",
              senders.problem().empty() ? YesNo(senders.active())
                                        : absl::StrCat(YesNo(senders.active()), "  ",
                                                       EscapeForTerminal(senders.problem())),
              senders.problem().empty() ? Color::kNone : Color::kYellow);
  }
  if (info.has_host_shutdown()) {
    const v1::HostShutdownWatch& host = info.host_shutdown();
    std::string text = absl::StrCat(host.active() ? "seen" : "not seen",
                                    host.shutting_down() ? ", it shuts down now" : "");
    if (!host.problem().empty()) absl::StrAppend(&text, "  ", EscapeForTerminal(host.problem()));
    facts.Add("host shutdown", text, host.shutting_down() ? Color::kYellow : Color::kNone);
  }
  for (int i = 0; i < info.directories_size(); ++i) {
    const v1::WatchedDirectory& directory = info.directories(i);
    facts.Add(i == 0 ? "watched" : "",
              absl::StrCat(EscapeForTerminal(directory.path()), ":",
                           EscapeForTerminal(directory.pattern()), "  ",
                           directory.present()
                               ? absl::StrCat(directory.sockets(),
                                              directory.sockets() == 1 ? " socket" : " sockets")
                               : "missing"),
              directory.present() ? Color::kNone : Color::kYellow);
  }
  for (int i = 0; i < info.unfollowed_sockets_size(); ++i) {
    const v1::UnfollowedSocket& socket = info.unfollowed_sockets(i);
    facts.Add(i == 0 ? "not followed" : "",
              absl::StrCat(EscapeForTerminal(socket.path()), "  ",
                           EscapeForTerminal(socket.problem().text())),
              Color::kYellow);
  }
  for (int i = 0; i < info.libvirt_connections_size(); ++i) {
    const v1::LibvirtConnection& connection = info.libvirt_connections(i);
    facts.Add(i == 0 ? "libvirt" : "", ConnectionText(connection, zone_),
              connection.connected() ? Color::kNone : Color::kYellow);
  }
  return facts.Take();
}

absl::StatusOr<std::string> TableFormatter::FormatStreams(const Streams& streams) {
  std::vector<std::vector<Cell>> rows;
  for (const v1::Stream& stream : streams) {
    v1::WatchEventsRequest filters;  // as the contract's text has them
    if (stream.has_filter()) *filters.mutable_filter() = stream.filter();
    *filters.mutable_any_of() = stream.any_of();
    const std::string names = absl::StrJoin(stream.certificate_names(), ", ");
    const std::string filter = filters.ShortDebugString();
    rows.push_back({{EscapeForTerminal(stream.stream_id())},
                    {EscapeForTerminal(names.empty() ? stream.peer() : names), Color::kBold},
                    {SinceText(stream.has_open_time(), stream.open_time())},
                    {absl::StrCat(stream.sequence())},
                    {absl::StrCat(stream.lag()), stream.lag() > 0 ? Color::kYellow : Color::kNone},
                    {filter.empty() ? "-" : EscapeForTerminal(filter)}});
  }
  return Table({{"STREAM"}, {"CLIENT"}, {"OPEN"}, {"SEQUENCE"}, {"LAG"}, {"FILTER"}}, rows);
}

absl::StatusOr<std::string> TableFormatter::FormatHealth(absl::string_view service,
                                                         const Health& health) {
  if (!service.empty()) {
    return absl::StrFormat("%-8s  %s\n", service, Health::ServingStatus_Name(health.status()));
  }
  const std::string& name = Health::ServingStatus_Name(health.status());
  return absl::StrCat(name.empty() ? absl::StrCat(health.status()) : name, "\n");
}

NodeState StateOf(const v1::NodeHeartbeat& node, absl::Time now) {
  constexpr int kMissedIntervals = 3;
  if (!node.has_interval()) return NodeState::kStopped;
  const absl::Time due = FromProto(node.time()) + kMissedIntervals * FromProto(node.interval());
  return due < now ? NodeState::kSilent : NodeState::kUp;
}

const char* StateName(NodeState state) {
  switch (state) {
    case NodeState::kUp:
      return "up";
    case NodeState::kSilent:
      return "silent";
    case NodeState::kStopped:
      return "stopped";
  }
  return "";
}

namespace {

Color StateColor(NodeState state) {
  switch (state) {
    case NodeState::kUp:
      return Color::kGreen;
    case NodeState::kSilent:
      return Color::kRed;
    case NodeState::kStopped:
      break;
  }
  return Color::kDim;
}

}  // namespace

absl::StatusOr<std::string> TableFormatter::FormatFleet(const Heartbeats& nodes, absl::Time now) {
  std::set<std::string> clusters;
  for (const v1::NodeHeartbeat& node : nodes) clusters.insert(node.cluster());
  const bool with_cluster = clusters.size() > 1 || style_.wide;
  std::vector<ColumnLayout::Column> columns;
  if (with_cluster) columns.push_back({"CLUSTER"});
  columns.insert(columns.end(), {{"NODE"}, {"STATE"}, {"SEEN"}, {"LAST EVENT"}, {"LAG"}, {"VMS"}});
  if (style_.wide) columns.insert(columns.end(), {{"NEWEST"}, {"PUBLISHED"}});
  columns.insert(columns.end(), {{"VERSION"}, {"JOURNAL"}});
  std::vector<std::vector<Cell>> rows;
  rows.reserve(static_cast<size_t>(nodes.size()));
  for (const v1::NodeHeartbeat& node : nodes) {
    const NodeState state = StateOf(node, now);
    const uint64_t lag = LagOf(node);
    std::vector<Cell> row;
    if (with_cluster) row.push_back({EscapeForTerminal(node.cluster())});
    row.push_back({EscapeForTerminal(node.node()), Color::kBold});
    row.push_back({StateName(state), StateColor(state)});
    row.push_back({SinceText(node.has_time(), node.time())});
    row.push_back({SinceText(node.has_newest_event_time(), node.newest_event_time())});
    row.push_back({absl::StrCat(lag), lag == 0 ? Color::kNone : Color::kYellow});
    row.push_back({absl::StrCat(node.vms())});
    if (style_.wide) {
      row.push_back({absl::StrCat(node.newest_sequence())});
      row.push_back({absl::StrCat(node.published_sequence())});
    }
    row.push_back({EscapeForTerminal(node.version())});
    row.push_back({EscapeForTerminal(node.journal_id())});
    rows.push_back(std::move(row));
  }
  return Table(std::move(columns), rows);
}

}  // namespace vmeventd::client
