#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "client/output/cells.h"
#include "client/output/count_text.h"
#include "client/output/ends_count.h"
#include "client/output/enum_names.h"
#include "client/output/fact_list.h"
#include "client/output/formatter.h"
#include "client/output/json.h"
#include "client/output/node_state.h"
#include "client/output/stored_events.h"
#include "client/output/time_text.h"
#include "client/output/trouble.h"
#include "nlohmann/json.hpp"
#include "watcher/core/proto_time.h"
#include "watcher/core/unfollowed_limit.h"

// Nodes: one, several, and those of a fleet; and the streams of one.

namespace vmeventd::client {
namespace {

// A node's state as it is shown.
Cell StateCell(const v1::NodeHeartbeat& node, absl::Time now) {
  const NodeState state = StateOf(node, now);
  if (state == NodeState::kStopped) return {"push stopped", Color::kDim};
  if (!node.other_journal_id().empty()) return {"name shared", Color::kRed};
  return state == NodeState::kUp ? Cell{"up", Color::kGreen} : Cell{"silent", Color::kRed};
}

// Returns whether there are facts of the node: it answered, or a fleet has its heartbeat.
bool IsKnown(const NodeReport& report) { return report.problem.empty() || report.lag.has_value(); }

// The time since the node's start, or a word if it cannot be asked.
Cell UpCell(const NodeReport& report, absl::Time now) {
  if (!report.problem.empty()) return {report.lag ? "SILENT" : "AWAY", Color::kRed};
  if (!report.info.has_start_time()) return {"yes", Color::kGreen};
  return {ShortDurationText(now - FromTimestamp(report.info.start_time()))};
}

Cell JournalCell(const NodeReport& report) {
  if (!report.lag && !report.info.journal_writable()) return {"NOT WRITABLE", Color::kRed};
  if (!report.unread.empty()) return {"NOT READABLE", Color::kRed};
  if (report.lag) return {absl::StrCat("lag ", *report.lag)};
  return {"writable"};
}

Cell TroubleCell(const NodeReport& report, absl::Time now) {
  const size_t troubled = TroubledVms(report, now).size();
  return {absl::StrCat(troubled), troubled > 0 ? Color::kRed : Color::kNone};
}

using EndsByClass = std::map<v1::ShutdownClass, int>;

// Counts the ends of the last time (kCountedEnds).
EndsByClass CountEnds(const NodeReport& report, absl::Time now) {
  EndsByClass ends;
  for (const NodeEvent& end : report.ends) {
    const bool recent = FromTimestamp(end.event.observe_time()) > now - kCountedEnds;
    if (recent) ++ends[end.event.shutdown().shutdown_class()];
  }
  return ends;
}

// The number of recent ends, and of those whose class needs a look.
Cell EndsCell(const NodeReport& report, absl::Time now) {
  const EndsByClass ends = CountEnds(report, now);
  int sum = 0;
  for (const auto& [shutdown_class, count] : ends) sum += count;
  std::string text = absl::StrCat(report.all_ends ? "" : ">=", sum);
  for (const v1::ShutdownClass bad : {v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CLASS_UNKNOWN}) {
    const auto found = ends.find(bad);
    if (found != ends.end()) absl::StrAppend(&text, ", ", ShortName(bad), " ", found->second);
  }
  if (ends.contains(v1::SHUTDOWN_CLASS_CRASH)) return {std::move(text), Color::kRed};
  const bool unknown = ends.contains(v1::SHUTDOWN_CLASS_UNKNOWN);
  return {std::move(text), unknown ? Color::kYellow : Color::kNone};
}

// A node as an object of JSON.
absl::StatusOr<std::string> NodeJson(const NodeReport& report, absl::Time now) {
  nlohmann::ordered_json ends = nlohmann::ordered_json::object();
  for (const auto& [shutdown_class, count] : CountEnds(report, now)) {
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
  const bool known = IsKnown(report);
  const bool reachable = report.problem.empty();
  return ObjectOf({{"cluster", report.node.cluster.empty() ? "" : JsonText(report.node.cluster)},
                   {"", known ? ToJson(info) : ObjectOf({{"node", JsonText(info.node())}})},
                   {"reachable", reachable ? "true" : "false"},
                   {"problem", JsonText(reachable ? report.unhealthy : report.problem)},
                   {"lag", report.lag ? absl::StrCat("\"", *report.lag, "\"") : ""},
                   {"trouble", JsonText(troubled)},
                   {"ends_in_24h", JsonText(ends)}});
}

std::string YesNo(bool value) { return value ? "yes" : "no"; }

}  // namespace

absl::StatusOr<std::string> Formatter::FormatNodes(const NodeReports& reports, absl::Time now) {
  for (const NodeReport& report : reports) NoteCluster(report.node);
  const auto make_row = [&](const NodeReport& report) {
    const auto or_dash = [&report](const Cell& cell) { return IsKnown(report) ? cell : Cell{"-"}; };
    Row row;
    row.Add(NameColumn("NODE"), {NodeCell(report.node).text, Color::kBold});
    row.Add({"UP"}, UpCell(report, now));
    row.Add({"VMS"}, or_dash({absl::StrCat(report.info.vms())}));
    row.Add({"TROUBLE"}, or_dash(TroubleCell(report, now)));
    row.Add({"ENDS-24H"}, or_dash(EndsCell(report, now)));
    row.Add({"JOURNAL"}, or_dash(JournalCell(report)));
    row.Add({"VERSION"}, or_dash({report.info.version()}));
    if (style_.wide) row.Add({"PROBLEM"}, {OrDash(absl::StrCat(report.problem, report.unhealthy))});
    return row;
  };
  return FormatList(
      reports,
      [](const NodeReport& report) {
        return report.node.name.empty() ? report.info.node() : report.node.full_name();
      },
      [now](const NodeReport& report) { return NodeJson(report, now); }, make_row);
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
  add("writable", YesNo(info.journal_writable()), info.journal_problem().text(),
      !info.journal_writable());
  facts.Add("stored", StoredEvents(info, style_.zone));
  facts.Add("oldest event", absl::StrCat(info.oldest_sequence()));
  facts.Add("newest event", absl::StrCat(info.newest_sequence()));
  facts.Add("VMs", absl::StrCat(info.vms()));
  facts.Add("streams", absl::StrCat(info.streams()));
  if (info.exit_status_source() != v1::EXIT_STATUS_SOURCE_UNSPECIFIED) {
    facts.Add("exit status", ShortName(info.exit_status_source()));
  }
  if (info.has_signal_senders()) {
    const v1::SignalSenderWatch& senders = info.signal_senders();
    add("signal senders", YesNo(senders.active()), senders.problem().text(), senders.has_problem());
  }
  if (info.has_host_shutdown()) {
    const v1::HostShutdownWatch& host = info.host_shutdown();
    add("host shutdown",
        host.shutting_down() ? "shutting down now"
        : host.active()      ? "seen"
                             : "not seen",
        host.problem().text(), host.shutting_down());
  }
  for (const v1::Listener& listener : info.listeners()) {
    if (listener.listening()) continue;
    facts.Add("closed",
              absl::StrCat(listener.address(), "  cannot be listened on; the log says why"),
              Color::kYellow);
  }
  for (const v1::WatchedDirectory& directory : info.directories()) {
    facts.Add("watched",
              absl::StrCat(directory.path(), ":", directory.pattern(), "  ",
                           directory.has_problem() ? directory.problem().text()
                           : directory.present()   ? CountText(directory.sockets(), "socket")
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
        connection.connected() ? CountText(connection.domains(), "domain")
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

absl::StatusOr<std::string> Formatter::FormatHealth(const std::vector<NodeHealth>& services) {
  using Health = grpc::health::v1::HealthCheckResponse;
  const bool nodes = absl::c_any_of(services, [](const auto& one) { return !one.node.empty(); });
  const bool named = absl::c_any_of(services, [](const auto& one) { return !one.service.empty(); });
  const auto name_of = [](const NodeHealth& one) {
    if (!one.service.empty()) return one.service;
    return one.node.empty() ? Health::ServingStatus_Name(one.health.status()) : one.node;
  };
  const auto json_of = [](const NodeHealth& one) -> absl::StatusOr<std::string> {
    return ObjectOf({{"node", one.node.empty() ? "" : JsonText(one.node)},
                     {"service", one.service.empty() ? "" : JsonText(one.service)},
                     {"", ToJson(one.health)}});
  };
  const auto make_row = [&](const NodeHealth& one) {
    const std::string& state = Health::ServingStatus_Name(one.health.status());
    Row row;
    if (nodes) row.Add({"", 16}, {one.node});
    if (named) row.Add({"", 8}, {one.service});
    row.Add({""}, {state.empty() ? absl::StrCat(one.health.status()) : state});
    return row;
  };
  return FormatList(services, name_of, json_of, make_row);
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

}  // namespace vmeventd::client
