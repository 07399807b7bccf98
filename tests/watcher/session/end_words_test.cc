#include "watcher/session/end_words.h"

#include <csignal>
#include <string>

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(EndWordsTest, AnExitIsDescribedForPeople) {
  EXPECT_EQ(DescribeExit({0, 0}), "exit code 0");
  EXPECT_EQ(DescribeExit({3, 0}), "exit code 3");
  EXPECT_EQ(DescribeExit({0, SIGKILL}), "exit signal 9 (SIGKILL)");
  EXPECT_EQ(DescribeExit({0, 34}), "exit signal 34");
}

TEST(EndWordsTest, ASenderIsDescribedForPeople) {
  EXPECT_EQ(DescribeSender({.by_kernel = true}), "the kernel");
  EXPECT_EQ(DescribeSender({.pid = 812}), "a process that is gone (pid 812)");
  EXPECT_EQ(DescribeSender({.pid = 812, .of_qemu = true}),
            "QEMU or a process of its own (pid 812)");
  EXPECT_EQ(DescribeSender({.pid = 812, .uid = 0, .command = std::string("bash")}),
            "bash (pid 812, uid 0)");
  for (const char* name : {"", "  "}) {
    EXPECT_EQ(DescribeSender({.pid = 812, .uid = 0, .command = std::string(name)}),
              "a process without a name (pid 812, uid 0)");
  }
  EXPECT_EQ(DescribeSender({.pid = 812,
                            .uid = 107,
                            .command = std::string("virtqemud"),
                            .cgroup = std::string("/system.slice/virtqemud.service"),
                            .of_qemu = true}),
            "virtqemud (pid 812, uid 107, /system.slice/virtqemud.service, of QEMU's own)");
}

}  // namespace
}  // namespace vmeventd
