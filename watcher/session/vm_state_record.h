#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "vmeventd/contract/enums.h"

namespace vmeventd {

// The state of a run's VM: as it is, as the last event published it, and as it was when its monitor
// was lost. Saved, except `pause_reason_changed`. Pure; times are of the wall clock.
struct VmStateRecord {
  VmState state = VmState::kUnreachable;
  absl::Time state_time;
  std::string pause_reason;  // QEMU's run state while `state` is kPaused; empty: not reported yet
  bool pause_reason_changed = false;  // since it was published

  VmState published_state = VmState::kUnreachable;
  absl::Time published_state_time;

  VmState state_before_loss = VmState::kUnreachable;
  absl::Time state_time_before_loss;

  // Sets the state. Without effect if the VM is in that state already.
  void Set(VmState now_in, absl::Time now);
  // Stores QEMU's run state of a VM that is PAUSED; without effect in another state.
  void SetPauseReason(absl::string_view run_state);

  // Call it when the monitor is lost: the state becomes UNREACHABLE, except that of a guest that is
  // down.
  void Lose(absl::Time now);
  // Call it when the monitor is back and its state known: if that is the same as before, so is its
  // time.
  void Regain();

  // Returns the state to publish. `hidden`: the directory of its monitor's socket hangs, so that a
  // VM that may be up is UNREACHABLE.
  VmState Shown(bool hidden) const;
  // Call it when an event publishes the state `shown`, and with it the reason of a pause.
  void MarkPublished(VmState shown, absl::Time now);
  // Returns whether the reason of a pause has changed since it was published, and the published
  // state shows it. From then on it counts as published.
  bool TakePauseReasonChange();
};

// "running", "down, but QEMU still runs": the state in a message of an event.
absl::string_view StateText(VmState state);

}  // namespace vmeventd
