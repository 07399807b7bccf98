#include "watcher/core/line_framer.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

absl::Status TooLong() {
  return absl::ResourceExhaustedError(
      absl::StrCat("a line of more than ", LineFramer::kMaxLineBytes >> 20, " MiB"));
}

}  // namespace

absl::Status LineFramer::Feed(absl::string_view bytes,
                              const std::function<absl::Status(absl::string_view)>& on_line) {
  while (true) {
    const size_t end = bytes.find('\n');
    const absl::string_view piece = bytes.substr(0, end);
    if (partial_.size() + piece.size() > kMaxLineBytes) return TooLong();
    if (end == absl::string_view::npos) {
      partial_.append(piece.data(), piece.size());
      return absl::OkStatus();
    }
    absl::string_view line = piece;
    if (!partial_.empty()) {
      partial_.append(piece.data(), piece.size());
      line = partial_;
    }
    if (absl::EndsWith(line, "\r")) line.remove_suffix(1);
    if (!line.empty()) {
      if (absl::Status status = on_line(line); !status.ok()) return status;
    }
    partial_ = std::string();  // gives the memory back: an idle monitor holds no buffer
    bytes.remove_prefix(end + 1);
  }
}

}  // namespace vmeventd
