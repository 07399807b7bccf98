// Ends a program whose test does not end, with the test's name: for waits that have no end of their
// own, such as a join or RunOnce with an infinite time.

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

namespace vmeventd {
namespace {

// Longer than kPatience, which names the condition that did not come.
constexpr unsigned kSeconds = 120;

// Written between tests, read by the signal's handler.
std::string* const complaint = new std::string;

void Complain(int) {
  if (write(STDERR_FILENO, complaint->data(), complaint->size()) < 0) _exit(1);
  abort();
}

class Deadline : public testing::EmptyTestEventListener {
 public:
  void OnTestStart(const testing::TestInfo& test) override {
    *complaint = std::string(test.test_suite_name()) + "." + test.name() + " does not end\n";
    alarm(kSeconds);
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
