#pragma once

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/events/complete_event.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/vm_event.h"

namespace vmeventd::bench {

// The event that vmeventd makes from kStopLine (monitor_lines.h).
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
