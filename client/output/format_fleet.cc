#include "client/output/format_fleet.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/output/format_table.h"
#include "client/output/time_text.h"

namespace vmeventd::client {

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

uint64_t LagOf(const v1::NodeHeartbeat& node) {
  return node.newest_sequence() - std::min(node.newest_sequence(), node.published_sequence());
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
  ColumnLayout layout(std::move(columns), painter_);
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
    layout.Fit(rows.back());
  }
  std::string text = style_.headings ? layout.Heading() : "";
  for (std::vector<Cell>& row : rows) text += layout.Lines(std::move(row), LineLimit());
  return text;
}

}  // namespace vmeventd::client
