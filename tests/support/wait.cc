#include "tests/support/wait.h"

#include <poll.h>

#include <cerrno>
#include <cstring>

#include "absl/time/clock.h"

namespace vmeventd::e2e {

void WaitUntil(const std::string& what, const std::function<bool()>& condition) {
  constexpr int kProbeMs = 10;
  const absl::Time deadline = absl::Now() + kPatience;
  while (!condition()) {
    if (absl::Now() > deadline) Fail("timed out waiting until " + what);
    poll(nullptr, 0, kProbeMs);
  }
}

void Fail(const std::string& what) { throw std::runtime_error(what); }

void FailErrno(const std::string& what) { Fail(what + ": " + std::strerror(errno)); }

}  // namespace vmeventd::e2e
