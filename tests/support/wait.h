#ifndef VMEVENTD_TESTS_SUPPORT_WAIT_H_
#define VMEVENTD_TESTS_SUPPORT_WAIT_H_

#include <functional>
#include <stdexcept>
#include <string>

#include "absl/time/time.h"

// How the end-to-end harness waits and fails. Its parts throw std::runtime_error where they cannot
// go on, which GoogleTest reports as the test's failure after everything was cleaned up.

namespace vmeventd::e2e {

// How long anything may take before a test gives up. Only a broken test ever waits that long, so
// it leaves room for a loaded machine.
inline constexpr absl::Duration kPatience = absl::Seconds(60);

// Returns as soon as `condition` holds, and throws with `what` when kPatience has passed.
void WaitUntil(const std::string& what, const std::function<bool()>& condition);

[[noreturn]] void Fail(const std::string& what);
// As Fail, with errno in words.
[[noreturn]] void FailErrno(const std::string& what);

}  // namespace vmeventd::e2e

#endif  // VMEVENTD_TESTS_SUPPORT_WAIT_H_
