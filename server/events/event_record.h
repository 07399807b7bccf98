#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// An event as the journal stores it. Its views refer to bytes of another owner.
struct EventRecord {
  uint64_t sequence = 0;
  v1::EventType type{};
  v1::ShutdownClass shutdown_class{};  // UNSPECIFIED if the event has none
  absl::Time observe_time;
  // Earliest time at which the event may have happened. It equals observe_time, unless nobody saw
  // when the event happened between the two.
  absl::Time since;
  absl::string_view event;  // the message without its VmRef and `durable`
  // The same VmRef has always the same bytes; empty: of the node as a whole.
  absl::string_view vm_ref;

  bool is_of_node() const { return vm_ref.empty(); }
};

}  // namespace vmeventd
