#include "client/output/formatter.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "client/output/time_text.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {

// Milliseconds are for wide tables. On a terminal a time of this year has no year.
std::string Formatter::TimeText(absl::Time time) const {
  if (style_.wide) return LocalTimeText(time, style_.zone);
  if (!style_.is_brief()) return absl::FormatTime("%Y-%m-%d %H:%M:%S", time, style_.zone);
  const bool this_year =
      absl::ToCivilYear(time, style_.zone) == absl::ToCivilYear(style_.now(), style_.zone);
  return absl::FormatTime(this_year ? "%b %d %H:%M:%S" : "%Y-%m-%d %H:%M", time, style_.zone);
}

std::string Formatter::SinceText(const google::protobuf::Timestamp& time) const {
  return time.seconds() == 0 ? "-" : TimeText(FromTimestamp(time));
}

// A name widens its column to a limit; on a terminal a longer one is cut.
ColumnLayout::Column Formatter::NameColumn(const char* heading, size_t min_width) const {
  // 20 columns of 80; 13 next to another name.
  const size_t least = style_.nodes ? 12 : 20;
  const size_t share = style_.nodes ? 6 : 4;
  const size_t limit = LineLimit() == 0 ? SIZE_MAX : std::max(least, LineLimit() / share);
  return {heading, std::min(min_width, limit), limit, /*cut_middle=*/true};
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
  const std::string shown = EscapeForTerminal(name);
  const bool is_word = shown == name && (!absl::StartsWith(name, "-") || !style_.before.empty());
  if (style_.completes && !is_word) return "";
  const std::string text = name.empty() ? "" : absl::StrCat(shown, "\n");
  return style_.before.empty() ? text : absl::StrCat(text, style_.before, text);
}

}  // namespace vmeventd::client
