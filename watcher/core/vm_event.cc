#include "watcher/core/vm_event.h"

#include <utility>

#include "watcher/core/proto_time.h"

namespace vmeventd {

v1::Event MakeEvent(EventType type, std::string message) {
  v1::Event event;
  event.set_type(ToProto(type));
  event.set_message(std::move(message));
  return event;
}

v1::Event MakeGap(GapReason reason, std::string message, absl::Time time) {
  v1::Event gap = MakeEvent(EventType::kGap, std::move(message));
  gap.set_gap_reason(ToProto(reason));
  *gap.mutable_observe_time() = ToTimestamp(time);
  return gap;
}

}  // namespace vmeventd
