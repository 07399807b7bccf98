#pragma once

#include <algorithm>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace vmeventd {

// Decides when a QEMU is asked for its run state, and how long an answer may take before QEMU
// counts as hanging. A VM that runs is asked at the interval of the hang check. A VM that is paused
// is asked more often, because QEMU sends no event when it enters `finish-migrate` or
// `postmigrate`, nor when a VM arrives by migration with its guest down. Pure; times are monotonic.
class RunStatePoll {
 public:
  // A QEMU that has not answered after this time hangs.
  static constexpr absl::Duration kAnswerTime = absl::Seconds(10);
  // First and maximum interval of the questions to a paused VM. It doubles with each answer.
  static constexpr absl::Duration kPausedPoll = absl::Seconds(1);
  static constexpr absl::Duration kMaxPausedPoll = absl::Seconds(30);
  // The maximum while a migration finishes.
  static constexpr absl::Duration kMaxFinishingPoll = absl::Milliseconds(100);

  // `hang_check`: interval of the questions to a VM that runs; InfiniteDuration: such a VM is asked
  // nothing, and no answer is ever late. `asks`: false for a VM whose manager reports its run
  // state, which is asked nothing.
  RunStatePoll(absl::Duration hang_check, bool asks) : hang_check_(hang_check), asks_(asks) {}

  // The monitor was attached and reports `run_state`; empty: QEMU did not answer.
  void OnAttach(absl::string_view run_state, absl::Duration now);
  // QEMU answers `run_state`; empty: with an error.
  void OnAnswer(absl::string_view run_state, absl::Duration now);
  // The VM runs, or its run state is not known: asks at the interval of the hang check.
  void AskLater(absl::Duration now) { AskIn(hang_check_, now); }
  // The run state may have changed. Delays the question: by then the answer may be known, or be no
  // longer of use.
  void AskSoon(absl::Duration now);
  // QEMU is ending, or its monitor is closed: asks nothing, and expects no answer.
  void Stop() { ask_at_ = answer_due_ = absl::InfiniteDuration(); }

  // Returns whether to ask QEMU now. `may_be_ending`: it is not asked, as it might hang over a
  // command.
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
  // Asks again as often as a VM in this run state needs.
  void Follow(absl::string_view run_state, absl::Duration now);

  absl::Duration hang_check_;
  bool asks_;
  absl::Duration ask_at_ = absl::InfiniteDuration();      // time of the next question
  absl::Duration answer_due_ = absl::InfiniteDuration();  // time from which QEMU counts as hanging
  absl::Duration wait_;      // the last one between two questions to a paused VM
  absl::Duration max_wait_;  // its limit; another limit begins with short waits again
};

}  // namespace vmeventd
