#pragma once

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/events/event_codec.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/vm_event.h"

namespace vmeventd::bench {

// Lines of a VM's monitor: the greeting, two lines that each cause one event, and the last one
// before its end.
inline constexpr char kGreetingLine[] =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "
    "\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";
inline constexpr char kStopLine[] =
    "{\"timestamp\": {\"seconds\": 1790000000, \"microseconds\": 123456}, \"event\": \"STOP\"}\r\n";
inline constexpr char kResumeLine[] =
    "{\"timestamp\": {\"seconds\": 1790000000, \"microseconds\": 123456}, \"event\": "
    "\"RESUME\"}\r\n";
inline constexpr char kShutdownLine[] =
    "{\"timestamp\": {\"seconds\": 1790000000, \"microseconds\": 0}, \"event\": \"SHUTDOWN\", "
    "\"data\": {\"guest\": true, \"reason\": \"guest-shutdown\"}}\r\n";

// The event that vmeventd makes from kStopLine.
inline v1::Event PausedEvent(uint64_t sequence) {
  v1::Vm vm;
  vm.mutable_ref()->set_name(absl::StrCat("instance", sequence % 9000, ".example.com"));
  vm.mutable_ref()->set_run_id(
      absl::StrCat("c2f1a9d0-5b6e-4e0f-9a3d-", 100000000000 + sequence % 9000));
  vm.mutable_ref()->set_uuid(
      absl::StrCat("6b2f7a52-0d3c-4a8e-8f11-", 200000000000 + sequence % 9000));
  vm.mutable_ref()->set_pid(4711);
  vm.mutable_ref()->set_source("qmp:/run/ganeti/kvm-hypervisor/ctrl");
  vm.set_state(v1::VM_STATE_PAUSED);
  v1::Event event = MakeEvent(EventType::kPaused, "the VM was paused");
  *event.mutable_observe_time() = ToTimestamp(absl::Now());
  *event.mutable_qemu_time() = event.observe_time();
  event.set_qmp_event("STOP");
  CompleteEvent(&vm, sequence, &event);
  event.set_durable(true);
  return event;
}

}  // namespace vmeventd::bench
