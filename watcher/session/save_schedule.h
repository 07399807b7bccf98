#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/token_bucket.h"

namespace vmeventd {

// Decides when a run that has changed is saved. An event is saved together with what it changed;
// changes without an event, of which a hostile monitor can cause any number, have a limit. Pure;
// times are monotonic.
class SaveSchedule {
 public:
  // Time that a changed run may wait to be saved in a flood.
  static constexpr absl::Duration kDelay = absl::Milliseconds(100);
  static constexpr TokenRate kRate{.per_second = 10, .burst = 50};

  // Returns whether a change without an event may be saved now. If not, it is due later.
  bool Admit(absl::Duration now);
  // Time at which a save is due; InfiniteDuration: none is.
  absl::Duration DueAt() const { return due_at_; }
  bool is_due() const { return due_at_ < absl::InfiniteDuration(); }
  void Cancel() { due_at_ = absl::InfiniteDuration(); }
  // Records `text`, the whole saved run, as the current one: none is due any more. Returns whether
  // it differs from the one before.
  bool Record(absl::string_view text);

 private:
  TokenBucket limit_{kRate};
  absl::Duration due_at_ = absl::InfiniteDuration();
  size_t hash_ = 0;  // of the text that was recorded last
};

}  // namespace vmeventd
