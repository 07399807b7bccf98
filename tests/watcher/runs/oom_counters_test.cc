#include "watcher/runs/oom_counters.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/temporary_directory.h"

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
  void Cgroup(const std::string& text) const { Put("/proc/7/cgroup", text); }
  std::optional<OomCounters::Count> Find() const { return OomCounters(root_.path()).Find(7); }

  TemporaryDirectory root_;
};

TEST_F(OomCountersTest, ReadsMemoryEventsOfTheProcesssCgroup) {
  Cgroup("0::/machine.slice/vm:1.scope\n");
  Put("/sys/fs/cgroup/machine.slice/vm:1.scope/memory.events",
      "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n");
  const auto count = Find();
  ASSERT_TRUE(count.has_value());
  EXPECT_EQ(count->file, "/sys/fs/cgroup/machine.slice/vm:1.scope/memory.events");
  EXPECT_EQ(count->kills, 2u);
}

TEST_F(OomCountersTest, ACgroupWithoutAMemoryControllerIsCountedAbove) {
  Cgroup("0::/machine.slice/vm1.scope/libvirt/emulator\n");
  Put("/sys/fs/cgroup/machine.slice/vm1.scope/memory.events", "oom_kill 5\n");
  Put("/sys/fs/cgroup/machine.slice/memory.events", "oom_kill 9\n");
  EXPECT_EQ(Find()->kills, 5u);
}

TEST_F(OomCountersTest, ACgroupOutsideTheNamespaceOrWithoutACountHasNoCounter) {
  EXPECT_FALSE(Find().has_value());
  Put("/sys/fs/cgroup/memory.events", "oom_kill 1\n");
  Cgroup("0::/../../vm1.scope\n");
  EXPECT_FALSE(Find().has_value());
  Cgroup("2:memory:/vm1\n");
  EXPECT_FALSE(Find().has_value()) << "it is not of v2";
  fs::remove(root_.path() + "/sys/fs/cgroup/memory.events");
  Cgroup("0::/vm1\n");
  for (const char* text : {"oom 1\n", "oom_kill many\n"}) {
    Put("/sys/fs/cgroup/vm1/memory.events", text);
    EXPECT_FALSE(Find().has_value()) << text;
  }
}

TEST_F(OomCountersTest, ACgroupThatIsGoneIsNotKnown) {
  Cgroup("0::/vm1\n");
  Put("/sys/fs/cgroup/vm1/memory.events", "oom_kill 1\n");
  const std::string file = Find()->file;
  const OomCounters counters(root_.path());
  EXPECT_EQ(counters.Read(file), 1u);
  fs::remove_all(root_.path() + "/sys/fs/cgroup/vm1");
  EXPECT_FALSE(counters.Read(file).has_value());
}

}  // namespace
}  // namespace vmeventd
