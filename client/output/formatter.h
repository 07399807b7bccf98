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
#include "client/output/node_event.h"
#include "client/output/terminal_text.h"
#include "google/protobuf/message.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "grpc/health/v1/health.pb.h"
#include "nlohmann/json_fwd.hpp"
#include "vmeventd/v1/fleet.pb.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Turns the server's answers into text for standard output. Pure, except that a formatter remembers
// its own output (column widths); one thread. Each text is whole lines, or empty. INTERNAL: a
// message cannot be shown; names it.
class Formatter {
 public:
  virtual ~Formatter() = default;

  using Events = absl::Span<const NodeEvent>;
  using Vms = absl::Span<const NodeVm>;
  using Health = grpc::health::v1::HealthCheckResponse;
  using Streams = google::protobuf::RepeatedPtrField<v1::Stream>;
  using Heartbeats = google::protobuf::RepeatedPtrField<v1::NodeHeartbeat>;

  // The heading above events: requested once, before the first event if they come one by one, and
  // for a list after its first page, whose widths it then has.
  virtual std::string EventHeading() { return ""; }
  // Called repeatedly as events arrive, in order.
  virtual absl::StatusOr<std::string> FormatEvents(Events events) = 0;
  virtual absl::StatusOr<std::string> FormatVms(Vms vms) = 0;
  // A VM's last end, and its present state.
  virtual absl::StatusOr<std::string> FormatWhy(const VmStory& story) = 0;
  // Stands between two such texts.
  virtual std::string Between() { return ""; }
  // An intent that was just declared.
  virtual absl::StatusOr<std::string> FormatIntent(const v1::Intent& intent) = 0;
  // The open intents of these VMs; each VM has one.
  virtual absl::StatusOr<std::string> FormatIntents(Vms vms) = 0;
  virtual absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info) = 0;
  // The open streams of a daemon.
  virtual absl::StatusOr<std::string> FormatStreams(const Streams& streams) = 0;
  // `service` is empty where one was asked for alone.
  virtual absl::StatusOr<std::string> FormatHealth(absl::string_view service,
                                                   const Health& health) = 0;
  // The nodes of a fleet, as they are at `now`.
  virtual absl::StatusOr<std::string> FormatFleet(const Heartbeats& nodes, absl::Time now) = 0;
};

// The state of a fleet's node, from its latest heartbeat.
enum class NodeState {
  kUp,
  kSilent,   // last heartbeat older than three intervals
  kStopped,  // its daemon stopped in order
};
NodeState StateOf(const v1::NodeHeartbeat& node, absl::Time now);
// "up", "silent", "stopped".
const char* StateName(NodeState state);

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
  size_t node_width = 0;  // width of the longest node's name
  bool wide = false;      // adds columns, and sets no limit to a line
  bool markdown = false;  // of `why`
  // The columns of the terminal: a row is cut there. 0: no limit.
  size_t width = 0;
  bool brief = false;  // a time of this year is shown without it
  // A clock. Null: no ages are shown, and every time has its year.
  std::function<absl::Time()> now;
  bool is_brief() const { return brief && now && !wide; }
};

// Tables for people: aligned columns, times in the style's zone, optional colour. Escapes all text
// of the server for terminals.
class TableFormatter : public Formatter {
 public:
  explicit TableFormatter(TableStyle style) : style_(std::move(style)), painter_(style_.color) {}

  std::string EventHeading() override;
  absl::StatusOr<std::string> FormatEvents(Events events) override;
  absl::StatusOr<std::string> FormatVms(Vms vms) override;
  absl::StatusOr<std::string> FormatWhy(const VmStory& story) override;
  std::string Between() override { return "\n"; }
  absl::StatusOr<std::string> FormatIntent(const v1::Intent& intent) override;
  absl::StatusOr<std::string> FormatIntents(Vms vms) override;
  absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info) override;
  absl::StatusOr<std::string> FormatStreams(const Streams& streams) override;
  absl::StatusOr<std::string> FormatHealth(absl::string_view service,
                                           const Health& health) override;
  absl::StatusOr<std::string> FormatFleet(const Heartbeats& nodes, absl::Time now) override;

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
  // A table of the rows that `make` makes of each.
  template <typename List, typename MakeRow>
  std::string Table(const List& list, const MakeRow& make) const;
  size_t LineLimit() const { return style_.wide ? 0 : style_.width; }
  ColumnLayout::Column NameColumn(size_t min_width) const;
  std::string TimeText(absl::Time time) const;
  // "-" if it is not known.
  std::string SinceText(bool known, const google::protobuf::Timestamp& time) const;
  // Records whether the nodes' names need their clusters' from now on.
  void NoteCluster(const MessageNode& node);
  Cell NodeCell(const MessageNode& node) const;

  const TableStyle style_;
  Painter painter_;
  // Layout of the rows that come one by one, or of a list's first page.
  std::optional<ColumnLayout> event_layout_;
  std::string cluster_;  // the first that was shown
  bool several_clusters_ = false;
  bool vms_shown_ = false;  // a table of VMs was printed above the events
};

// The colours of states and classes.
Color ColorOf(v1::VmState state);
Color ColorOf(v1::ShutdownClass shutdown_class);

// Converts a message into one JSON object, without a newline: protobuf's JSON mapping with the
// contract's field names, enums by name, 64-bit numbers as strings. Includes zero and empty fields,
// so that a script finds each number, text and list without testing for it; omits unset messages.
// The object begins with the members "cluster", if there is one, and "node" if a `node` is given.
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message,
                                   const MessageNode& node = {});

// The value in one line; what is not UTF-8 in it is replaced.
std::string JsonText(const nlohmann::ordered_json& json);

// For programs, an item after another:
//   JSON  an object a line, as by ToJson()
//   name  a name a line, for a shell's loop: of each VM, of the VM of each event, an intent's id,
//         the node's name. Escaped for terminals. An event of the whole node has no line. NODE/NAME
//         if there are several nodes; of a fleet CLUSTER/NODE/NAME, and CLUSTER/NODE of a node.
class ProgramFormatter : public Formatter {
 public:
  enum class Form { kJson, kName };
  explicit ProgramFormatter(Form form) : form_(form) {}

  absl::StatusOr<std::string> FormatEvents(Events events) override;
  absl::StatusOr<std::string> FormatVms(Vms vms) override;
  // The members name, vm, last_end and ends_in_24h.
  absl::StatusOr<std::string> FormatWhy(const VmStory& story) override;
  absl::StatusOr<std::string> FormatIntent(const v1::Intent& intent) override;
  absl::StatusOr<std::string> FormatIntents(Vms vms) override;
  absl::StatusOr<std::string> FormatInfo(const v1::GetServerInfoResponse& info) override;
  absl::StatusOr<std::string> FormatStreams(const Streams& streams) override;
  absl::StatusOr<std::string> FormatHealth(absl::string_view service,
                                           const Health& health) override;
  absl::StatusOr<std::string> FormatFleet(const Heartbeats& nodes, absl::Time now) override;

 private:
  // One item: its line, or the object that `make_json` makes.
  template <typename MakeJson>
  absl::StatusOr<std::string> Show(const std::string& line, const MakeJson& make_json) const;

  const Form form_;
};
struct JsonFormatter : ProgramFormatter {
  JsonFormatter() : ProgramFormatter(Form::kJson) {}
};
struct NameFormatter : ProgramFormatter {
  NameFormatter() : ProgramFormatter(Form::kName) {}
};

}  // namespace vmeventd::client
