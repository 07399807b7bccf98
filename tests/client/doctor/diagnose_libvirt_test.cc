#include "absl/strings/str_cat.h"
#include "client/doctor/diagnosis.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/doctor/diagnosis_fixture.h"

namespace vmeventd::client {
namespace {

TEST_F(DiagnosisTest, AMonitorOfLibvirtIsFollowedThroughLibvirt) {
  facts_.processes[0].arguments = {"kvm", "-chardev", "socket,id=m,fd=9,server=on", "-mon",
                                   "chardev=m,mode=control"};
  facts_.sockets[0].path = "/var/lib/libvirt/qemu/domain-1-web1/monitor.sock";
  EXPECT_EQ(Only(facts_, "unwatched").line(),
            "watch = [\"/run/qemu:*.qmp\"]\nlibvirt = [\"qemu:///system\"]");
  facts_.info.add_libvirt_connections()->set_connected(true);
  EXPECT_THAT(Diagnose(facts_).findings, testing::IsEmpty());
  EXPECT_EQ(Diagnose(facts_).usable, 1);
}

TEST_F(DiagnosisTest, ADomainOfAnotherUsersLibvirtIsReachedByThatUsersSocket) {
  Become(&facts_, "qemu-system-x86_64 -name guest=a -chardev socket,id=charmonitor,fd=9", 1000);
  facts_.watches.clear();
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  facts_.daemon_pid = 8;
  const char* const uri =
      "libvirt = [\"qemu+unix:///session?socket=/run/user/1000/libvirt/libvirt-sock\"]";
  EXPECT_EQ(Only(facts_, "unwatched").line(), uri);
  facts_.processes[1].uid = 990;
  facts_.processes[1].cgroups = "0::/system.slice/vmeventd.service";
  EXPECT_EQ(Only(facts_, "unwatched").line(),
            absl::StrCat(uri,
                         "\ninstall -d /etc/systemd/system/vmeventd.service.d && printf "
                         "'[Service]\\nProtectHome=read-only\\n' "
                         ">/etc/systemd/system/vmeventd.service.d/home.conf && systemctl "
                         "daemon-reload && systemctl restart vmeventd.service"))
      << "its unit hides /run/user";
  facts_.processes[1].uid = 1000;
  facts_.processes[1].cgroups = "0::/user.slice/user-1000.slice/vmeventd.service";
  EXPECT_EQ(Only(facts_, "unwatched").line(), "libvirt = [\"qemu:///session\"]");
}

TEST_F(DiagnosisTest, TheProposedLineTestsALibvirtThatIsNotConnected) {
  v1::LibvirtConnection* const libvirt = facts_.info.add_libvirt_connections();
  libvirt->mutable_problem()->set_text("no such file");
  EXPECT_THAT(Only(facts_, "libvirt").what, testing::EndsWith(": no such file."));
  libvirt->set_uri("qemu+unix:///session?socket=/run/virtqemud-sock");
  EXPECT_EQ(Only(facts_, "libvirt").line(),
            "virsh -c 'qemu+unix:///session?socket=/run/virtqemud-sock' list");
}

}  // namespace
}  // namespace vmeventd::client
