// A daemon that lacks something: descriptors, permissions.

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/programs.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;
using testing::Not;

class LimitsTest : public E2eTest {
 protected:
  int CountVms(bool with_problems) {
    const auto vms = daemon().ListVms(false);
    return static_cast<int>(std::count_if(vms.begin(), vms.end(), [&](const v1::Vm& vm) {
      return (vm.problems_size() > 0) == with_problems;
    }));
  }
};

TEST_F(LimitsTest, VmsBeyondTheDescriptorLimitAreListedAndAttachedLater) {
  constexpr int kLeaving = 70;
  constexpr int kStaying = 10;
  const auto start = [this](const std::string& name, int count) {
    std::vector<std::unique_ptr<FakeQemu>> qemus;
    for (int i = 0; i < count; ++i) {
      qemus.push_back(std::make_unique<FakeQemu>());
      qemus.back()->AddMonitor(watch_dir() + "/" + name + std::to_string(i) + ".kvmd");
    }
    return qemus;
  };
  const auto leaving = start("leaving", kLeaving);
  const auto staying = start("staying", kStaying);
  DaemonOptions options = Options();
  options.max_descriptors = 80;
  StartDaemon(options);
  const auto unfollowed = [&] { return daemon().GetServerInfo().unfollowed_sockets_size(); };
  WaitUntil("all are listed",
            [&] { return CountVms(false) + unfollowed() == kLeaving + kStaying; });
  EXPECT_GT(CountVms(false), 0);
  EXPECT_GT(unfollowed(), 0);

  for (const auto& qemu : leaving) {
    qemu->Unlink(0);  // as QEMU does; the socket of one that was never followed would be reported
    qemu->Exit();
    qemu->Reap();
  }
  WaitUntil("the rest is attached",
            [&] { return CountVms(false) == kStaying && unfollowed() == 0; });
}

// If the test runs as root, the daemon runs as nobody: root may read everything.
TEST_F(LimitsTest, MissingRightsAreLoggedAtTheStart) {
  DaemonOptions options = Options();
  if (geteuid() == 0) {
    options.socket = dir() / "nobody/run/vmeventd.sock";
    options.state_dir = dir() / "nobody/state";
    std::filesystem::create_directory(dir() / "nobody");
    chmod((dir() / "nobody").c_str(), 0777);
    chmod(dir().path().c_str(), 0755);
    options.wrapper = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    options.program = CopyProgram(dir().path());
  }
  StartDaemon(options);
  daemon().WaitLog("without CAP_DAC_OVERRIDE");
  if (geteuid() != 0) return;
  StopDaemon();
  DaemonOptions as_root = Options();
  as_root.log_file = dir() / "root-log";
  StartDaemon(as_root);
  EXPECT_THAT(ReadFile(as_root.log_file), Not(HasSubstr("without CAP_DAC_OVERRIDE")));
}

}  // namespace
}  // namespace vmeventd::e2e
