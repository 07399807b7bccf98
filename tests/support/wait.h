#pragma once

#include <functional>
#include <stdexcept>
#include <string>

#include "absl/time/time.h"

// Waits and failures of the end-to-end tests: they throw std::runtime_error, which GoogleTest
// reports as the test's failure after everything is cleaned up.

namespace vmeventd::e2e {

// Time that a test waits before it fails. Only a broken test waits that long, so this leaves room
// for a loaded machine.
inline constexpr absl::Duration kPatience = absl::Minutes(3);

// Returns once `condition` is true; throws with `what` after kPatience.
void WaitUntil(const std::string& what, const std::function<bool()>& condition);

[[noreturn]] void Fail(const std::string& what);
// Fails like Fail, with errno in words.
[[noreturn]] void FailErrno(const std::string& what);

}  // namespace vmeventd::e2e
