#include "tests/support/wait.h"

#include <poll.h>

#include <cerrno>
#include <cstring>

#include "absl/time/clock.h"

namespace vmeventd {

bool StepUntil(const std::function<void()>& step, const std::function<bool()>& done) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!done()) {
    if (absl::Now() > deadline) return false;
    step();
  }
  return true;
}

bool Eventually(const std::function<bool()>& done) {
  return StepUntil([] { poll(nullptr, 0, 1); }, done);
}

namespace e2e {

void WaitUntil(const std::string& what, const std::function<bool()>& condition) {
  constexpr int kProbeMs = 10;
  if (!StepUntil([] { poll(nullptr, 0, kProbeMs); }, condition)) {
    Fail("timed out waiting until " + what);
  }
}

void Fail(const std::string& what) { throw std::runtime_error(what); }

void FailErrno(const std::string& what) { Fail(what + ": " + std::strerror(errno)); }

}  // namespace e2e
}  // namespace vmeventd
