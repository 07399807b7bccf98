
#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/test_util.h"
#include "watcher/runs/oom_watch.h"

namespace vmeventd {
namespace {

namespace fs = std::filesystem;

// A root directory with what of /proc and the cgroups is read.
class OomCountersTest : public testing::Test {
 protected:
  void Put(const std::string& path, const std::string& text) const {
    const fs::path file = root_.path() + path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void Mounts(const std::string& text) const { Put("/proc/self/mountinfo", text); }
  void Cgroup(const std::string& text) const { Put("/proc/7/cgroup", text); }
  std::optional<OomCounters::Count> Find() const { return OomCounters(root_.path()).Find(7); }

  TempDir root_;
};

constexpr char kV2[] =
    "22 1 0:20 / /proc rw - proc proc rw\n"
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr char kV1[] =
    "30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

TEST_F(OomCountersTest, ReadsMemoryEventsOfTheProcesssCgroup) {
  Mounts(kV2);
  Cgroup("0::/machine.slice/vm1.scope\n");
  Put("/sys/fs/cgroup/machine.slice/vm1.scope/memory.events",
      "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n");
  const auto count = Find();
  ASSERT_TRUE(count.has_value());
  EXPECT_EQ(count->file, "/sys/fs/cgroup/machine.slice/vm1.scope/memory.events");
  EXPECT_EQ(count->kills, 2u);
}

TEST_F(OomCountersTest, ACgroupWithoutAMemoryControllerIsCountedAbove) {
  Mounts(kV2);
  Cgroup("0::/machine.slice/vm1.scope/libvirt/emulator\n");
  Put("/sys/fs/cgroup/machine.slice/vm1.scope/memory.events", "oom_kill 5\n");
  Put("/sys/fs/cgroup/machine.slice/memory.events", "oom_kill 9\n");
  EXPECT_EQ(Find()->kills, 5u);
}

TEST_F(OomCountersTest, ReadsOomControlWhereV1HasTheController) {
  Mounts(kV1);
  Cgroup("3:cpu:/\n2:memory,hugetlb:/vms/vm1\n0::/elsewhere\n");
  Put("/sys/fs/cgroup/memory/vms/vm1/memory.oom_control",
      "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
  const auto count = Find();
  ASSERT_TRUE(count.has_value());
  EXPECT_EQ(count->file, "/sys/fs/cgroup/memory/vms/vm1/memory.oom_control");
  EXPECT_EQ(count->kills, 4u);
}

TEST_F(OomCountersTest, ThePathMayHoldColonsAndTheMountBeAPartWithSpaces) {
  Mounts("30 23 0:26 /docker/abc /host\\040cgroup rw - cgroup2 cgroup2 rw\n");
  Cgroup("0::/docker/abc/vm:1\n");
  Put("/host cgroup/vm:1/memory.events", "oom_kill 1\n");
  EXPECT_EQ(Find()->file, "/host cgroup/vm:1/memory.events");
}

TEST_F(OomCountersTest, WhatIsOutsideOfTheMountIsNotKnown) {
  Mounts("30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  Put("/sys/fs/cgroup/memory.events", "oom_kill 1\n");
  for (const char* path : {"0::/docker/abcd/x\n", "0::/../../vm1.scope\n", "0::/docker\n"}) {
    Cgroup(path);
    EXPECT_FALSE(Find().has_value()) << path;
  }
}

TEST_F(OomCountersTest, WithoutFilesNothingIsKnown) {
  EXPECT_FALSE(Find().has_value());
  Mounts(kV2);
  EXPECT_FALSE(Find().has_value());
  Cgroup("0::/vm1\n");
  EXPECT_FALSE(Find().has_value());
  Put("/sys/fs/cgroup/vm1/memory.events", "oom 1\n");
  EXPECT_FALSE(Find().has_value()) << "a kernel that does not count them";
  Put("/sys/fs/cgroup/vm1/memory.events", "oom_kill many\n");
  EXPECT_FALSE(Find().has_value());
}

TEST_F(OomCountersTest, ACgroupThatIsGoneIsNotKnown) {
  Mounts(kV2);
  Cgroup("0::/vm1\n");
  Put("/sys/fs/cgroup/vm1/memory.events", "oom_kill 1\n");
  const std::string file = Find()->file;
  const OomCounters counters(root_.path());
  EXPECT_EQ(counters.Read(file).value(), 1u);
  fs::remove_all(root_.path() + "/sys/fs/cgroup/vm1");
  EXPECT_FALSE(counters.Read(file).ok());
}

}  // namespace
}  // namespace vmeventd
