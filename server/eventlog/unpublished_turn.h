#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/time/time.h"
#include "server/logging/stop_line.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// The public changes of one turn of the watcher, made once it is published. Its events are in
// RecentEvents.
struct UnpublishedTurn {
  uint64_t turn = 0;        // its number, from 1 on
  absl::Duration added;     // on the monotonic clock
  bool has_batch = false;   // the journal gets something of it
  uint64_t newest = 0;      // the last sequence assigned by then; its event may be dropped
  std::vector<v1::Vm> vms;  // in order
  std::vector<std::function<void()>> on_public;
  std::vector<StopLine> stop_lines;
  std::vector<absl::Duration> observed;  // observation times of the events
};

}  // namespace vmeventd
