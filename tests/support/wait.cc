#include "tests/support/wait.h"

#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "absl/time/clock.h"
#include "tests/support/fail.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kMinute = absl::Minutes(1);

}  // namespace

double MachineLoad() {
  double of_last_minute = 0;
  if (getloadavg(&of_last_minute, 1) != 1) return 1;
  return std::max(1.0, of_last_minute / std::max(1u, std::thread::hardware_concurrency()));
}

absl::Duration Patience() { return kMinute * MachineLoad(); }

bool StepUntil(const std::function<void()>& step, const std::function<bool()>& done) {
  const absl::Time began = absl::Now();
  while (!done()) {
    const absl::Duration waited = absl::Now() - began;
    if (waited > kMinute && waited > Patience()) return false;
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
}  // namespace e2e
}  // namespace vmeventd
