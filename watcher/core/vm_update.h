#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// One step of what is known: an event, the VM's status after it, or both.
//   status and event   the event happened to that VM, which is now as `status` says
//   status alone       something changed that is no event (a problem came or went)
//   event alone        an event of the node as a whole (a GAP)
struct VmUpdate {
  std::optional<v1::Vm> status;  // without last_sequence
  // Without its sequence, `durable`, and what `status` has: vm, state, problems.
  std::optional<v1::Event> event;
  // The run of `status` as VmSession::Save() writes it, to be saved in place of the last one.
  // Empty: the run is over. Unset: unchanged.
  std::optional<std::string> saved_run = std::nullopt;
  // Called once, on the sink's thread, when the step is public (and durable, if the journal can be
  // written). Unset: nobody waits for that.
  std::function<void()> on_public = nullptr;
  // Time of `event` on the monotonic clock, for latencies; unset: not known.
  std::optional<absl::Duration> observed = std::nullopt;
};

}  // namespace vmeventd
