#include "client/sources/position_gap.h"

#include <utility>

#include "absl/time/clock.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {

NodeEvents MakeGap(MessageNode node, const WatchPosition& behind, const std::string& why) {
  v1::Event event;
  event.set_type(v1::EVENT_TYPE_GAP);
  event.set_gap_reason(v1::GAP_REASON_POSITION_LOST);
  *event.mutable_observe_time() = ToTimestamp(absl::Now());
  event.mutable_missing()->set_first(behind.sequence + 1);
  event.set_message(why);
  return {{std::move(event), std::move(node), {0, behind}}};
}

}  // namespace vmeventd::client
