#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/output/invocation.h"
#include "client/output/json.h"
#include "client/output/message_node.h"
#include "client/output/node_count.h"
#include "client/output/node_event.h"
#include "client/output/node_report.h"
#include "client/output/node_stream.h"
#include "client/output/node_vm.h"
#include "client/output/painter.h"
#include "client/output/table_layout.h"
#include "client/output/table_style.h"
#include "client/output/terminal_text.h"
#include "client/output/vm_story.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "grpc/health/v1/health.pb.h"
#include "vmeventd/v1/fleet.pb.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// For people:
//   table  aligned columns, times in the style's zone, optional colour
// For programs, one item after another:
//   JSON   one object on each line, see ToJson()
//   name   one name on each line, for a shell's loop: of a VM, of an event's VM, of a node (in a
//          fleet CLUSTER/NODE), or the id of an intent. An event of the whole node has no line.
enum class Form { kTable, kJson, kName };

// Health of a service. `node` is empty if only one node was asked; `service` is empty for the
// server as a whole.
struct NodeHealth {
  std::string node;
  std::string service;
  grpc::health::v1::HealthCheckResponse health;
};

// Turns the server's answers into text for standard output. Pure, except that it remembers its own
// output (column widths); one thread. Each text consists of whole lines, or is empty. Escapes all
// text of the server for terminals. INTERNAL: a message cannot be shown; the error names it.
class Formatter {
 public:
  using Events = absl::Span<const NodeEvent>;
  using Vms = absl::Span<const NodeVm>;
  using Heartbeats = google::protobuf::RepeatedPtrField<v1::NodeHeartbeat>;

  explicit Formatter(Form form, TableStyle style = {})
      : form_(form), style_(std::move(style)), painter_(style_.color) {}

  absl::TimeZone zone() const { return style_.zone; }
  const Invocation& invocation() const { return style_.invocation; }
  // Returns whether it shows the node of each row.
  bool shows_nodes() const { return style_.nodes; }

  // Called repeatedly, as events arrive, in order. The first text of a table begins with the
  // heading; without events it is only the heading, for rows of usual widths.
  absl::StatusOr<std::string> FormatEvents(Events events);
  absl::StatusOr<std::string> FormatVms(Vms vms);
  // Formats a VM's last end and its present state. Called once for each VM. JSON has the members
  // name, vm, last_end and ends_in_24h.
  absl::StatusOr<std::string> FormatWhy(const VmStory& story);
  // Formats the open intents of these VMs; each VM must have one.
  absl::StatusOr<std::string> FormatIntents(Vms vms);
  absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info);
  // Formats a row for each node. JSON has the members of GetServerInfoResponse, then reachable,
  // problem, lag, trouble and ends_in_24h.
  absl::StatusOr<std::string> FormatNodes(const NodeReports& reports, absl::Time now);
  // Formats the first `max` of these VMs, all of which have trouble, with lines that explain the
  // trouble. For people.
  std::string FormatTrouble(Vms vms, absl::Time now, size_t max);
  // Formats counts of `what` (such as "ends") by `by` (such as "class"). JSON has the members `by`
  // and "events". `csv` requires Form::kTable.
  absl::StatusOr<std::string> FormatCounts(const std::string& by, const std::string& what,
                                           const NodeCounts& counts, bool csv);
  // Formats the open streams, each with its node.
  absl::StatusOr<std::string> FormatStreams(const std::vector<NodeStream>& streams);
  // Formats a row for each service, without a heading.
  absl::StatusOr<std::string> FormatHealth(const std::vector<NodeHealth>& services);
  // Formats the nodes of a fleet, with their states at `now`.
  absl::StatusOr<std::string> FormatFleet(const Heartbeats& nodes, absl::Time now);

 private:
  // A row with its columns; the columns of an empty message are those of the table. Escapes its
  // cells.
  struct Row {
    void Add(ColumnLayout::Column column, const Cell& cell) {
      columns.push_back(std::move(column));
      cells.push_back({EscapeForTerminal(cell.text), cell.color});
    }
    std::vector<ColumnLayout::Column> columns;
    std::vector<Cell> cells;
  };

  // `reserve`: uses the widths of usual rows, for rows that arrive one by one. Otherwise the given
  // rows widen the columns.
  Row EventRow(const NodeEvent& one, bool reserve = false) const;
  // The line of an item for programs: the name, or the object; empty if both are empty.
  absl::StatusOr<std::string> Line(const std::string& name,
                                   const absl::StatusOr<std::string>& json) const;
  // Formats the list. A table gets a heading, unless `layout` is set by a table above it.
  template <typename List, typename NameOf, typename JsonOf, typename MakeRow>
  absl::StatusOr<std::string> FormatList(const List& list, const NameOf& name_of,
                                         const JsonOf& json_of, const MakeRow& make_row,
                                         std::optional<ColumnLayout>* layout = nullptr);
  size_t LineLimit() const { return style_.wide ? 0 : style_.width; }
  ColumnLayout::Column NameColumn(const char* heading, size_t min_width = 0) const;
  std::string TimeText(absl::Time time) const;
  // "-" if it is not set.
  std::string SinceText(const google::protobuf::Timestamp& time) const;
  // Records the node's cluster. From the second cluster on, names of nodes include their cluster.
  void NoteCluster(const MessageNode& node);
  Cell NodeCell(const MessageNode& node) const;

  const Form form_;
  const TableStyle style_;
  const Painter painter_;
  // Layout of the table of events; unset before its first row.
  std::optional<ColumnLayout> event_layout_;
  std::string cluster_;  // the first cluster that was shown
  bool several_clusters_ = false;
  bool shown_ = false;  // a table or a story was written before
};

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

}  // namespace vmeventd::client
