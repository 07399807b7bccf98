// Ends a program whose test does not end, with the test's name: for waits that have no end of their
// own, such as a join or RunOnce with an infinite time. On a busy machine a test has more time.

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/support/wait.h"

namespace vmeventd {
namespace {

// Twice as long as Patience(), which names the condition that did not come.
constexpr absl::Duration kTime = absl::Minutes(2);

// Written between tests, read by the signal's handler.
std::string* const complaint = new std::string;
absl::Time started_at;

void SetAlarm(absl::Duration time) { alarm(1 + static_cast<unsigned>(absl::ToInt64Seconds(time))); }

void Complain(int) {
  // Neither takes memory or a lock.
  const absl::Duration left = kTime * MachineLoad() - (absl::Now() - started_at);
  if (left > absl::ZeroDuration()) return SetAlarm(left);
  if (write(STDERR_FILENO, complaint->data(), complaint->size()) < 0) _exit(1);
  abort();
}

class Deadline : public testing::EmptyTestEventListener {
 public:
  void OnTestStart(const testing::TestInfo& test) override {
    *complaint = std::string(test.test_suite_name()) + "." + test.name() + " does not end\n";
    started_at = absl::Now();
    SetAlarm(kTime);
  }
  void OnTestEnd(const testing::TestInfo&) override { alarm(0); }
};

[[maybe_unused]] const bool deadline_is_set = [] {
  signal(SIGALRM, Complain);
  testing::UnitTest::GetInstance()->listeners().Append(new Deadline);
  return true;
}();

}  // namespace
}  // namespace vmeventd
