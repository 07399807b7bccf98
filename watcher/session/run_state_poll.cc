#include "watcher/session/run_state_poll.h"

#include <utility>

#include "watcher/session/command_pacer.h"
#include "watcher/session/qemu_run_state.h"

namespace vmeventd {

void RunStatePoll::OnAttach(absl::string_view run_state, absl::Duration now) {
  max_wait_ = absl::ZeroDuration();
  Follow(run_state, now);
  if (run_state.empty()) AskLater(now);
}

void RunStatePoll::OnAnswer(absl::string_view run_state, absl::Duration now) {
  answer_due_ = absl::InfiniteDuration();
  Follow(run_state, now);
}

void RunStatePoll::AskSoon(absl::Duration now) {
  max_wait_ = absl::ZeroDuration();
  AskIn(CommandPacer::kQuietTime, now);
}

bool RunStatePoll::TakeQuestion(bool may_be_ending, absl::Duration now) {
  if (now < ask_at_) return false;
  if (may_be_ending) {
    AskLater(now);
    return false;
  }
  AskIn(kPausedPoll, now);  // should no answer come
  if (hang_check_ < absl::InfiniteDuration()) {
    answer_due_ = std::min(answer_due_, now + kAnswerTime);
  }
  return true;
}

bool RunStatePoll::TakeLateness(absl::Duration now) {
  if (!IsLate(now)) return false;
  answer_due_ = absl::InfiniteDuration();
  return true;
}

void RunStatePoll::AskIn(absl::Duration wait, absl::Duration now) {
  if (asks_) ask_at_ = now + wait;
}

void RunStatePoll::Follow(absl::string_view run_state, absl::Duration now) {
  ask_at_ = absl::InfiniteDuration();
  const bool finishing = run_state == "finish-migrate";
  // The source is stopped and its last pages are on the way; `postmigrate` comes when they have
  // arrived, and QEMU sends no event for it.
  if (StateOfRunState(run_state) == VmState::kPaused && run_state != "postmigrate") {
    const absl::Duration max_wait = finishing ? kMaxFinishingPoll : kMaxPausedPoll;
    if (std::exchange(max_wait_, max_wait) != max_wait) wait_ = absl::ZeroDuration();
    wait_ = std::clamp(wait_ * 2, finishing ? CommandPacer::kQuietTime : kPausedPoll, max_wait);
    AskIn(wait_, now);
  } else if (GuestIsUp(run_state)) {
    AskLater(now);
  }
}

}  // namespace vmeventd
