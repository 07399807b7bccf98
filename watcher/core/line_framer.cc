#include "watcher/core/line_framer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "watcher/core/json_extent.h"

namespace vmeventd {

int LineFramer::OpenAfter(absl::string_view line) const {
  const bool first = partial_.counted == 0;
  if (first && (!absl::StartsWith(line, "{") || absl::EndsWith(line, "}"))) return 0;
  const JsonExtent extent = MeasureJson(line.substr(partial_.counted));
  // A string of JSON has no line end: the parser will report the error.
  if (extent.in_string) return 0;
  return std::max(extent.open + partial_.open, 0);
}

absl::Status LineFramer::Feed(absl::string_view bytes,
                              const std::function<absl::Status(absl::string_view)>& on_line) {
  while (true) {
    const size_t end = bytes.find('\n');
    const absl::string_view piece = bytes.substr(0, end);
    if (partial_.text.size() + piece.size() > kMaxLineBytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("a line of more than ", kMaxLineBytes >> 20, " MiB"));
    }
    absl::string_view line = piece;
    if (end == absl::string_view::npos || !partial_.text.empty()) {
      line = partial_.text.append(piece.data(), piece.size());
    }
    if (end == absl::string_view::npos) return absl::OkStatus();
    if (absl::EndsWith(line, "\r")) line.remove_suffix(1);
    if (const int open = OpenAfter(line); open > 0) {
      if (partial_.text.empty()) partial_.text = std::string(piece);
      partial_.text += '\n';
      partial_.counted = partial_.text.size();
      partial_.open = open;
    } else {
      if (!line.empty()) {
        if (absl::Status status = on_line(line); !status.ok()) return status;
      }
      std::exchange(partial_, {});  // an idle monitor holds no buffer
    }
    bytes.remove_prefix(end + 1);
  }
}

}  // namespace vmeventd
