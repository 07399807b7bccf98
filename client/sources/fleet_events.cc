#include "client/sources/fleet_events.h"

#include <algorithm>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/fleet/fleet_message.h"
#include "client/fleet/fleet_subjects.h"
#include "client/sources/ignored_messages.h"

namespace vmeventd::client {

FleetEvents::FleetEvents(const PrintSentence& note)
    : ignore_(IgnoredIn(absl::StrCat("stream ", kFleetStream), note)) {}

bool FleetEvents::IsNew(const MessageNode& node, uint64_t sequence) {
  if (sequence == 0) return true;  // a GAP that no journal has
  const std::pair key(node.cluster, node.name);
  if (newest_.size() >= kMaxNodes && !newest_.contains(key)) return true;
  auto& [journal_id, newest] = newest_[key];
  if (std::exchange(journal_id, node.journal_id) != node.journal_id) newest = 0;
  return std::exchange(newest, std::max(newest, sequence)) < sequence;
}

std::optional<NodeEvent> FleetEvents::Parse(const StoredMessage& stored,
                                            const FleetMatcher& filter) {
  NodeEvent event;
  absl::StatusOr<MessageNode> origin = ParseFleetMessage(stored.message, &event.event);
  if (!origin.ok()) {
    ignore_(stored.message, origin.status());
    return std::nullopt;
  }
  event.node = *std::move(origin);
  event.resume_after.position = {stored.stream_sequence, "", stored.time};
  if (!IsNew(event.node, event.event.sequence()) || !filter.Passes(event.node, event.event)) {
    return std::nullopt;
  }
  return event;
}

}  // namespace vmeventd::client
