#include "client/sinks/trial_event.h"

#include <cstdint>

#include "watcher/core/proto_time.h"

namespace vmeventd::client {

NodeEvent TrialEvent(const std::string& node, absl::Time now) {
  NodeEvent one;
  one.node = {node, "", "test", {}};
  // Receivers drop an event whose id they know, so that each test has another id.
  one.event.set_sequence(static_cast<uint64_t>(absl::ToUnixSeconds(now)));
  *one.event.mutable_observe_time() = ToTimestamp(now);
  one.event.set_type(v1::EVENT_TYPE_STOPPED);
  one.event.set_state(v1::VM_STATE_STOPPED);
  one.event.mutable_vm()->set_name("vmevents-test");
  one.event.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_UNKNOWN);
  one.event.mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_UNOBSERVED);
  one.event.set_message("this is a test of vmevents push, and no VM has ended");
  return one;
}

}  // namespace vmeventd::client
