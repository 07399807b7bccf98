#include "watcher/runs/process.h"

#include <sys/wait.h>

#include <csignal>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/runs/child.h"

namespace vmeventd {
namespace {

TEST(ProcessTest, ThreadsAreDescribedByTheirStates) {
  const Child child(Sleep);
  kill(child.pid(), SIGSTOP);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child.pid()), &info, WSTOPPED | WNOWAIT), 0);
  // ThreadSanitizer may have a thread of its own in the child.
  EXPECT_THAT(DescribeThreads(child.pid()), testing::AnyOf("1 T (stopped)", "2 T (stopped)"));
  kill(child.pid(), SIGKILL);
  child.AwaitEnd();
  EXPECT_EQ(DescribeThreads(child.pid()), "1 Z (ended)");
  EXPECT_EQ(DescribeThreads(0), "");
}

}  // namespace
}  // namespace vmeventd
