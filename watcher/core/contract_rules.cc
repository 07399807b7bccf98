#include "watcher/core/contract_rules.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "watcher/core/proto_time.h"

namespace vmeventd {

absl::Time EarliestTimeOf(const v1::Event& event) {
  const absl::Time observed = FromTimestamp(event.observe_time());
  if (event.shutdown().has_last_seen_time()) {
    return std::min(observed, FromTimestamp(event.shutdown().last_seen_time()));
  }
  if (event.unwatched().has_start()) {
    return std::min(observed, FromTimestamp(event.unwatched().start()));
  }
  return observed;
}

bool HasEnd(v1::EventType type) { return absl::c_linear_search(kTypesWithEnd, type); }

bool NamesGaps(const v1::EventFilter& filter) {
  return absl::c_linear_search(filter.types(), v1::EVENT_TYPE_GAP);
}

}  // namespace vmeventd
