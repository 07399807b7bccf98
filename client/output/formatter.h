#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/output/invocation.h"
#include "client/output/json.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "client/output/terminal_text.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "grpc/health/v1/health.pb.h"
#include "vmeventd/v1/fleet.pb.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The state of a fleet's node, from its latest heartbeat.
enum class NodeState {
  kUp,
  kSilent,   // last heartbeat older than three intervals
  kStopped,  // its push was stopped in order: nothing is known of its daemon
};
NodeState StateOf(const v1::NodeHeartbeat& node, absl::Time now);

// Number of sequences of its journal that are not published yet.
inline uint64_t LagOf(const v1::NodeHeartbeat& node) {
  return node.newest_sequence() - std::min(node.newest_sequence(), node.published_sequence());
}

struct TableStyle {
  bool color = false;
  absl::TimeZone zone;
  bool headings = true;
  // A column NODE: messages of several nodes are mixed. Once there are several clusters, it has
  // CLUSTER/NODE.
  bool nodes = false;
  bool wide = false;        // adds columns, and sets no limit to a line
  bool markdown = false;    // of `why`
  Invocation invocation;    // for the commands to paste
  bool node_events = true;  // JSON has events of the node as a whole, too: GAPs
  bool texts = false;       // JSON has the table's texts too: of `why`, and as ToJsonWithTexts()
  // The columns of the terminal: a row is cut there. 0: no limit.
  size_t width = 0;
  bool brief = false;  // a time of this year is shown without it
  std::string before;  // not empty: a name has another line, in which this stands before it
  // A clock. Null: no ages are shown, and every time has its year.
  std::function<absl::Time()> now;
  bool is_brief() const { return brief && now && !wide; }
};

// For people:
//   table  aligned columns, times in the style's zone, optional colour
// For programs, an item after another:
//   JSON   an object a line, as by ToJson()
//   name   a name a line, for a shell's loop: of each VM, of the VM of each event, an intent's id,
//          the node's name; CLUSTER/NODE of a fleet's node. An event of the whole node has no line.
enum class Form { kTable, kJson, kName };

// Whether a service serves: `node` is empty where one was asked, `service` where it was the server
// as a whole.
struct NodeHealth {
  std::string node;
  std::string service;
  grpc::health::v1::HealthCheckResponse health;
};

// Turns the server's answers into text for standard output. Pure, except that it remembers its own
// output (column widths); one thread. Each text is whole lines, or empty. Escapes all text of the
// server for terminals. INTERNAL: a message cannot be shown; names it.
class Formatter {
 public:
  using Events = absl::Span<const NodeEvent>;
  using Vms = absl::Span<const NodeVm>;
  using Heartbeats = google::protobuf::RepeatedPtrField<v1::NodeHeartbeat>;

  explicit Formatter(Form form, TableStyle style = {})
      : form_(form), style_(std::move(style)), painter_(style_.color) {}

  absl::TimeZone zone() const { return style_.zone; }
  const Invocation& invocation() const { return style_.invocation; }
  // Returns whether it shows the node of each row, as of several.
  bool shows_nodes() const { return style_.nodes; }

  // Called repeatedly as events arrive, in order. The first text of a table begins with the
  // heading: without events it is that alone, for rows of usual widths.
  absl::StatusOr<std::string> FormatEvents(Events events);
  absl::StatusOr<std::string> FormatVms(Vms vms);
  // A VM's last end, and its present state. Called once for each VM. JSON has the members name, vm,
  // last_end and ends_in_24h.
  absl::StatusOr<std::string> FormatWhy(const VmStory& story);
  // The open intents of these VMs; each VM has one.
  absl::StatusOr<std::string> FormatIntents(Vms vms);
  absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info);
  // A row for each node. JSON has the members of GetServerInfoResponse, then reachable, problem,
  // lag, trouble and ends_in_24h.
  absl::StatusOr<std::string> FormatNodes(const NodeReports& reports, absl::Time now);
  // The first `max` of these VMs, which have trouble, and the lines that explain them. For people.
  std::string FormatTrouble(Vms vms, absl::Time now, size_t max);
  // Counts by `by`, as "class", of `what`, as "ends". JSON has the members `by` and "events"; `csv`
  // needs the form of a table.
  absl::StatusOr<std::string> FormatCounts(const std::string& by, const std::string& what,
                                           const NodeCounts& counts, bool csv);
  // The open streams, each with the node that has it.
  absl::StatusOr<std::string> FormatStreams(const std::vector<NodeStream>& streams);
  // A row without a heading for each.
  absl::StatusOr<std::string> FormatHealth(const std::vector<NodeHealth>& services);
  // The nodes of a fleet, as they are at `now`.
  absl::StatusOr<std::string> FormatFleet(const Heartbeats& nodes, absl::Time now);

 private:
  // A row with its columns: those of an empty message are the table's. Escapes its cells.
  struct Row {
    void Add(ColumnLayout::Column column, const Cell& cell) {
      columns.push_back(std::move(column));
      cells.push_back({EscapeForTerminal(cell.text), cell.color});
    }
    std::vector<ColumnLayout::Column> columns;
    std::vector<Cell> cells;
  };

  // `reserve`: the widths are those of usual rows, for rows that come one by one. Otherwise the
  // rows at hand widen the columns.
  Row EventRow(const NodeEvent& one, bool reserve = false) const;
  // An item for programs: the name, or the object; none for an empty name.
  absl::StatusOr<std::string> Line(const std::string& name,
                                   const absl::StatusOr<std::string>& json) const;
  // The list in the output's form. A table has a heading, unless `layout` is that of a table above.
  template <typename List, typename NameOf, typename JsonOf, typename MakeRow>
  absl::StatusOr<std::string> FormatList(const List& list, const NameOf& name_of,
                                         const JsonOf& json_of, const MakeRow& make_row,
                                         std::optional<ColumnLayout>* layout = nullptr);
  size_t LineLimit() const { return style_.wide ? 0 : style_.width; }
  ColumnLayout::Column NameColumn(const char* heading, size_t min_width = 0) const;
  std::string TimeText(absl::Time time) const;
  // "-" if it is not set.
  std::string SinceText(const google::protobuf::Timestamp& time) const;
  // Records whether the nodes' names need their clusters' from now on.
  void NoteCluster(const MessageNode& node);
  Cell NodeCell(const MessageNode& node) const;

  const Form form_;
  const TableStyle style_;
  const Painter painter_;
  // Layout of the events, since there is one.
  std::optional<ColumnLayout> event_layout_;
  std::string cluster_;  // the first that was shown
  bool several_clusters_ = false;
  bool shown_ = false;  // a table or a story stands above
};

// The text of `why`: the verdict first, then the facts behind it, then the VM as it is now.
std::string StoryText(const VmStory& story, const TableStyle& style);

// The event as JSON, with the members "detail", as the table has it, and "pause_text".
absl::StatusOr<std::string> ToJsonWithTexts(const NodeEvent& one, absl::TimeZone zone);

// The colours of states and classes.
Color ColorOf(v1::VmState state);
Color ColorOf(v1::ShutdownClass shutdown_class);

}  // namespace vmeventd::client
