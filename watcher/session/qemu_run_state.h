#pragma once

#include "absl/strings/string_view.h"
#include "vmeventd/contract/enums.h"

namespace vmeventd {

// Returns the state of a VM whose QEMU reports `run_state` (qapi/run-state.json). Empty: QEMU did
// not answer, and the VM is UNREACHABLE.
inline VmState StateOfRunState(absl::string_view run_state) {
  if (run_state.empty()) return VmState::kUnreachable;
  if (run_state == "running") return VmState::kRunning;
  if (run_state == "suspended") return VmState::kSuspended;
  if (run_state == "shutdown" || run_state == "guest-panicked") return VmState::kGuestDown;
  return VmState::kPaused;
}

// Returns whether the guest is up: an earlier SHUTDOWN or pause is over.
inline bool GuestIsUp(absl::string_view run_state) {
  const VmState state = StateOfRunState(run_state);
  return state == VmState::kRunning || state == VmState::kSuspended;
}

}  // namespace vmeventd
