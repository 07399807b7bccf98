// The lines of a stream do not depend on how it is split. Only an object has a line end in it.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "watcher/core/line_framer.h"

namespace {

std::vector<std::string> Lines(absl::string_view bytes, size_t piece) {
  std::vector<std::string> lines;
  vmeventd::LineFramer framer;
  while (!bytes.empty()) {
    const absl::string_view part = bytes.substr(0, piece);
    bytes.remove_prefix(part.size());
    const absl::Status status = framer.Feed(part, [&](absl::string_view line) {
      lines.emplace_back(line);
      return absl::OkStatus();
    });
    if (!status.ok()) std::abort();
  }
  return lines;
}

}  // namespace

void Fuzz_line_framer(absl::string_view input) {
  if (input.empty()) return;
  const size_t piece = static_cast<uint8_t>(input[0]) + 1;
  const absl::string_view bytes = input.substr(1);
  const std::vector<std::string> lines = Lines(bytes, bytes.size() + 1);
  if (lines != Lines(bytes, piece)) std::abort();
  for (const std::string& line : lines) {
    if (line.empty() || (line[0] != '{' && line.find('\n') != std::string::npos)) std::abort();
  }
}
