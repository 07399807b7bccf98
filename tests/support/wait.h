#pragma once

#include <functional>
#include <string>

#include "absl/time/time.h"

// Waits for tests.

namespace vmeventd {

// Returns how many processes compete for each processor, at least 1: tests are now slower by this
// factor.
double MachineLoad();
// Time that a test waits before it fails: a minute, or longer on a busy machine. Only a broken test
// waits that long.
absl::Duration Patience();

// Calls `step` until `done` returns true, for up to Patience(). Returns whether `done` became true.
bool StepUntil(const std::function<void()>& step, const std::function<bool()>& done);
// Polls `done` every millisecond, for up to Patience(). Returns whether it became true.
bool Eventually(const std::function<bool()>& done);

namespace e2e {

using vmeventd::Patience;

// Returns when `condition` is true; fails with `what` after Patience().
void WaitUntil(const std::string& what, const std::function<bool()>& condition);

}  // namespace e2e
}  // namespace vmeventd
