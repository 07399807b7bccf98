#include "client/web/event_id.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace vmeventd::client {

std::string ToEventId(const StreamPositions& positions) {
  std::string id;
  size_t next = 0;
  for (const auto& [server, position] : positions) {
    for (; next < server; ++next) id += ',';
    absl::StrAppend(&id, position.journal_id, ":", position.sequence);
  }
  return id;
}

absl::StatusOr<StreamPositions> ParseEventId(absl::string_view id, size_t servers) {
  StreamPositions positions;
  size_t server = 0;
  for (const absl::string_view part : absl::StrSplit(id, ',')) {
    const std::pair<std::string, std::string> words = absl::StrSplit(part, absl::MaxSplits(':', 1));
    WatchPosition position{0, words.first};
    if (!part.empty() && (server >= servers || words.first.empty() ||
                          !absl::SimpleAtoi(words.second, &position.sequence))) {
      return absl::InvalidArgumentError(
          "is not a position of this server; send the id of an event, JOURNAL:SEQUENCE");
    }
    if (!part.empty()) positions[server] = std::move(position);
    ++server;
  }
  return positions;
}

}  // namespace vmeventd::client
