#include <string>

#include "absl/strings/str_cat.h"
#include "client/doctor/finding.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/doctor/diagnosis_fixture.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST_F(DiagnosisTest, TheProposedLineMakesADirectoryVisibleThatTheUnitHides) {
  facts_.watches.clear();
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  facts_.processes[1].cgroups = "0::/system.slice/vmeventd.service";
  facts_.daemon_pid = 8;
  const struct {
    const char* path;
    const char* setting;
  } kCases[] = {{"/tmp/a/web1.qmp", "PrivateTmp=no"},
                {"/run/user/1000/qemu/web1.qmp", "ProtectHome=read-only"}};
  for (const auto& expected : kCases) {
    facts_.processes[0].arguments.back() = absl::StrCat("unix:", expected.path, ",server=on");
    facts_.sockets[0].path = expected.path;
    facts_.processes[0].qemu->paths = {{expected.path, std::nullopt}};
    EXPECT_THAT(Only(facts_, "unwatched").line(),
                AllOf(testing::StartsWith("watch = ["), HasSubstr(expected.setting)));
  }
  facts_.processes[1].cgroups = "0::/docker/0a";
  const Finding contained = Only(facts_, "unwatched");
  EXPECT_EQ(contained.steps.back(),
            (Step{Place::kContainer, "-v /run/user/1000/qemu:/run/user/1000/qemu"}));
}

TEST_F(DiagnosisTest, AMonitorInThePrivateTmpOfItsUnitIsNotWatched) {
  facts_.watches.clear();
  const std::string path = "/tmp/web1.qmp";
  facts_.processes[0].arguments.back() = absl::StrCat("unix:", path, ",server=on");
  facts_.processes[0].qemu->own_tmp = true;
  facts_.sockets[0].path = path;
  for (const std::optional<std::string>& seen :
       {std::optional<std::string>("/tmp/systemd-private-1-web1.service-a/tmp/web1.qmp"),
        std::optional<std::string>()}) {
    facts_.processes[0].qemu->paths = {{path, seen}};
    const Finding finding = Only(facts_, "unwatched");
    EXPECT_THAT(finding.what, HasSubstr("new at each start"));
    EXPECT_THAT(finding.line(), testing::Not(HasSubstr("/tmp")));
  }
}

TEST_F(DiagnosisTest, AQemuInAContainerSharesItsDirectory) {
  facts_.processes[0].arguments.back() = "unix:/sock/web1.qmp,server=on";
  facts_.sockets[0].path = "/sock/web1.qmp";
  facts_.processes[0].qemu->paths = {{"/sock/web1.qmp", std::nullopt}};
  facts_.processes[0].qemu->own_root = true;
  EXPECT_EQ(Only(facts_, "unwatched").line(), "-v /run/qemu:/sock");
  facts_.processes[0].qemu->paths = {{"/sock/web1.qmp", "/srv/vms/web1.qmp"}};
  EXPECT_EQ(Only(facts_, "unwatched").line(), "watch = [\"/run/qemu:*.qmp\", \"/srv/vms:*.qmp\"]");
  facts_.processes[0].qemu->sees_network = false;
  facts_.client = "vmevents --server unix:/s";
  EXPECT_EQ(Only(facts_, "namespace").line(), "vmevents --server unix:/s doctor");
}

TEST_F(DiagnosisTest, TheProposedLineThawsAQemuByTheMeansThatFrozeIt) {
  const struct {
    const char* cgroup;
    const char* line;
  } kCases[] = {
      {"/sys/fs/cgroup/freezer/x", "echo THAWED >/sys/fs/cgroup/freezer/x/freezer.state"},
      {"/sys/fs/cgroup/x", "echo 0 >/sys/fs/cgroup/x/cgroup.freeze"},
      {"/sys/fs/cgroup/vm.slice/vm@a.service", "systemctl thaw vm@a.service"},
      {"/sys/fs/cgroup/system.slice/docker-0a1b.scope", "docker unpause 0a1b"},
      {"/sys/fs/cgroup/freezer/docker/0a1b", "docker unpause 0a1b"},
      {"/sys/fs/cgroup/machine.slice/libpod-0a1b.scope/container", "podman unpause 0a1b"},
      {"/sys/fs/cgroup/system.slice/vm.service/libpod-payload-0a1b", "podman unpause 0a1b"},
  };
  for (const auto& expected : kCases) {
    facts_.processes[0].qemu->frozen_by = expected.cgroup;
    EXPECT_EQ(Only(facts_, "hung-monitor").line(), expected.line);
  }
  facts_.processes[0].qemu->frozen_by = "";
  facts_.processes[0].qemu->dumps_core = true;
  EXPECT_THAT(Only(facts_, "hung-monitor").what, HasSubstr("writes its core"));
}

}  // namespace
}  // namespace vmeventd::client
