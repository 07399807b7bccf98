#pragma once

#include <algorithm>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace vmeventd {

// Decides when a QEMU is asked for its run state, and how long an answer may take before QEMU
// counts as hanging. While the VM runs, QEMU is asked at the interval of the hang check; while the
// VM is paused, more often, because QEMU sends no event when it enters `finish-migrate` or
// `postmigrate`, nor when a VM arrives by migration with its guest down. Pure; times are monotonic.
class RunStatePoll {
 public:
  // Time after which a QEMU that has not answered counts as hanging.
  static constexpr absl::Duration kAnswerTime = absl::Seconds(10);
  // First and maximum interval while the VM is paused. The interval doubles with each answer.
  static constexpr absl::Duration kPausedPoll = absl::Seconds(1);
  static constexpr absl::Duration kMaxPausedPoll = absl::Seconds(30);
  // The maximum while a migration finishes.
  static constexpr absl::Duration kMaxFinishingPoll = absl::Milliseconds(100);

  // `hang_check`: interval at which QEMU is asked while the VM runs; InfiniteDuration: it is not
  // asked then, and no answer is ever late. `asks`: false if a manager reports the run state, so
  // that QEMU is never asked.
  RunStatePoll(absl::Duration hang_check, bool asks) : hang_check_(hang_check), asks_(asks) {}

  // Call it when the monitor was attached and reports `run_state`; empty: QEMU did not answer.
  void OnAttach(absl::string_view run_state, absl::Duration now);
  // Call it when QEMU answers `run_state`; empty: it answers with an error.
  void OnAnswer(absl::string_view run_state, absl::Duration now);
  // The VM runs, or its run state is not known: asks at the interval of the hang check.
  void AskLater(absl::Duration now) { AskIn(hang_check_, now); }
  // The run state may have changed: the next question is due after CommandPacer::kQuietTime,
  // whenever it was due before.
  void AskSoon(absl::Duration now);
  // QEMU is ending, or its monitor is closed: asks nothing, and expects no answer.
  void Stop() { ask_at_ = answer_due_ = absl::InfiniteDuration(); }

  // Returns whether to ask QEMU now. With `may_be_ending`, returns false and postpones the
  // question, because a QEMU that is ending may hang if it gets a command.
  bool TakeQuestion(bool may_be_ending, absl::Duration now);
  // Returns whether QEMU hangs: its answer is late.
  bool IsLate(absl::Duration now) const { return now >= answer_due_; }
  // Like IsLate(), and then expects no answer until QEMU is asked again.
  bool TakeLateness(absl::Duration now);
  // Time at which TakeQuestion() or IsLate() may return true; InfiniteDuration: not before another
  // input.
  absl::Duration NextAt() const { return std::min(ask_at_, answer_due_); }

 private:
  void AskIn(absl::Duration wait, absl::Duration now);
  // Schedules the next question as a VM in this run state needs it.
  void Follow(absl::string_view run_state, absl::Duration now);

  absl::Duration hang_check_;
  bool asks_;
  absl::Duration ask_at_ = absl::InfiniteDuration();      // time of the next question
  absl::Duration answer_due_ = absl::InfiniteDuration();  // time from which QEMU counts as hanging
  absl::Duration wait_;      // the last interval between two questions while paused
  absl::Duration max_wait_;  // the maximum of `wait_`; if it changes, `wait_` restarts
};

}  // namespace vmeventd
