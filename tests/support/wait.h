#pragma once

#include <functional>
#include <stdexcept>
#include <string>

#include "absl/time/time.h"

// Waits of tests. Those of e2e fail by std::runtime_error, which GoogleTest reports as the test's
// failure after everything is cleaned up.

namespace vmeventd {

// How many processes want each processor; at least 1: a test is that much slower now.
double MachineLoad();
// Time that a test waits before it fails: a minute, or longer on a busy machine. Only a broken test
// waits that long.
absl::Duration Patience();

// Calls `step` until `done`, for as long as Patience(). Returns whether it was done.
bool StepUntil(const std::function<void()>& step, const std::function<bool()>& done);
// Polls.
bool Eventually(const std::function<bool()>& done);

namespace e2e {

using vmeventd::Patience;

// Returns once `condition` is true; throws with `what` after Patience().
void WaitUntil(const std::string& what, const std::function<bool()>& condition);

[[noreturn]] void Fail(const std::string& what);
// Fails like Fail, with errno in words.
[[noreturn]] void FailErrno(const std::string& what);

}  // namespace e2e
}  // namespace vmeventd
