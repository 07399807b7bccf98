#include "watcher/session/vm_state_record.h"

#include <cstddef>
#include <utility>

#include "watcher/core/foreign_text.h"

namespace vmeventd {

void VmStateRecord::Set(VmState now_in, absl::Time now) {
  if (state == now_in) return;
  state = now_in;
  state_time = now;
  pause_reason.clear();
}

void VmStateRecord::SetPauseReason(absl::string_view run_state) {
  constexpr size_t kMaxBytes = 64;
  if (state != VmState::kPaused) return;
  std::string reason(Utf8Prefix(OneLine(run_state), kMaxBytes));
  if (pause_reason == reason) return;
  pause_reason = std::move(reason);
  pause_reason_changed = true;
}

void VmStateRecord::Lose(absl::Time now) {
  state_before_loss = state;
  state_time_before_loss = state_time;
  if (state != VmState::kGuestDown) Set(VmState::kUnreachable, now);
}

void VmStateRecord::Regain() {
  if (state == state_before_loss) state_time = state_time_before_loss;
}

VmState VmStateRecord::Shown(bool hidden) const {
  const bool may_be_up = state != VmState::kGuestDown && state != VmState::kStopped;
  return hidden && may_be_up ? VmState::kUnreachable : state;
}

void VmStateRecord::MarkPublished(VmState shown, absl::Time now) {
  if (shown == state) {
    published_state_time = state_time;
  } else if (shown != published_state) {
    published_state_time = now;
  }
  published_state = shown;
  pause_reason_changed = false;
}

bool VmStateRecord::TakePauseReasonChange() {
  return std::exchange(pause_reason_changed, false) && published_state == VmState::kPaused;
}

absl::string_view StateText(VmState state) {
  constexpr absl::string_view kTexts[] = {
      "",       "running", "paused", "suspended", "down, but QEMU still runs", "not reachable",
      "stopped"};
  return kTexts[static_cast<int>(state)];
}

}  // namespace vmeventd
