#include "server/fleet/fleet_position.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {

std::string ToSentAfter(const FleetPosition& position) {
  return absl::StrCat(position.sequence, ":", position.stream_sequence);
}

FleetStored ToStored(const FleetMessageId& id, uint64_t stream_sequence, absl::string_view log_id,
                     absl::string_view sent_after, absl::string_view sent_to) {
  const FleetPosition position{id.journal_id, id.sequence, stream_sequence, ""};
  FleetPosition after = position;
  const size_t colon = sent_after.find(':');
  if (colon == sent_after.npos || !absl::SimpleAtoi(sent_after.substr(0, colon), &after.sequence) ||
      !absl::SimpleAtoi(sent_after.substr(colon + 1), &after.stream_sequence) ||
      after.sequence >= position.sequence) {
    return {.position = position, .sent_after = position};
  }
  const bool elsewhere = !sent_to.empty() && sent_to != log_id;
  if (elsewhere || after.stream_sequence >= stream_sequence) after = {id.journal_id};
  return {.position = position, .sent_after = after};
}

}  // namespace vmeventd
