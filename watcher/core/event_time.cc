#include "watcher/core/event_time.h"

#include <algorithm>

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

}  // namespace vmeventd
