#include <string>

#include "absl/strings/match.h"
#include "client/doctor/diagnosis.h"
#include "client/doctor/diagnosis_text.h"
#include "client/doctor/finding.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/doctor/diagnosis_fixture.h"
#include "tests/support/proto_text.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST_F(DiagnosisTest, TheProposedLineMakesAMissingDirectory) {
  facts_.watches.push_back({{"/run/it's", "*.qmp"}, false});
  EXPECT_EQ(Only(facts_, "directory").line(), "install -d -m 0755 '/run/it'\\''s'");
}

TEST_F(DiagnosisTest, AWatchOfAManagersMonitorsIsReported) {
  NodeFacts facts;
  facts.watches = {{{"/run/qemu-server", "*.qmp"}, true}};
  EXPECT_TRUE(absl::StrContains(Only(facts, "manager").what, "Proxmox VE"));
  facts.watches.push_back({{"/srv/vms", "*.qmp"}, true});
  EXPECT_EQ(Only(facts, "manager").line(), "watch = [\"/srv/vms:*.qmp\", \"/run/qemu:*.qmp\"]");
}

TEST_F(DiagnosisTest, ADirectoryThatOnlyTheDaemonCannotSeeLacksPermissions) {
  facts_.info.add_directories()->set_path("/run/qemu");
  EXPECT_EQ(Only(facts_, "rights").line(), "setfacl -m u:vmeventd:rx /run/qemu");
  EXPECT_THAT(Only(facts_, "rights").what, HasSubstr("needs the package acl"));
  facts_.processes.push_back(Process(9, "vmeventd", {"vmeventd"}));
  facts_.daemon_pid = 9;
  facts_.processes.back().user = "CORP\\watch";
  EXPECT_EQ(Only(facts_, "rights").line(), "setfacl -m 'u:CORP\\watch:rx' /run/qemu");
}

TEST_F(DiagnosisTest, TheProposedLineGrantsAccessToASocketThatTheDaemonMayNotOpen) {
  facts_.info = FromText<v1::GetServerInfoResponse>(
      "unfollowed_sockets { path: '/run/qemu/a.qmp' "
      "problem { code: PROBLEM_CODE_PERMISSION_DENIED text: 'Permission denied' } } "
      "unfollowed_sockets { path: '/run/qemu/my vm.qmp' "
      "problem { code: PROBLEM_CODE_PERMISSION_DENIED text: 'Permission denied' } }");
  const Finding finding = Only(facts_, "rights");
  EXPECT_EQ(finding.line(),
            "setfacl -m u:vmeventd:rx,d:u:vmeventd:rw /run/qemu/ && "
            "setfacl -m u:vmeventd:rw /run/qemu/a.qmp '/run/qemu/my vm.qmp'")
      << "it changes no other file of the directory";
  EXPECT_THAT(finding.what, AllOf(HasSubstr("needs the package acl"), HasSubstr("UMask=0007")));
}

TEST_F(DiagnosisTest, ForAConfinedDaemonTheProposedLineShowsItsProfilesDenials) {
  facts_.processes.push_back(Process(9, "vmeventd", {"vmeventd"}));
  facts_.processes.back().daemon->is_confined = true;
  facts_.daemon_pid = 9;
  facts_.info.add_directories()->set_path("/run/qemu");
  const Finding directory = Only(facts_, "rights");
  EXPECT_EQ(directory.line(),
            "journalctl -k --grep 'apparmor=\"DENIED\".*vmeventd' -n 20 --no-pager");
  EXPECT_THAT(directory.what, AllOf(HasSubstr("AppArmor profile may deny"),
                                    HasSubstr("/etc/apparmor.d/local/vmeventd")));
  facts_.info = FromText<v1::GetServerInfoResponse>(
      "unfollowed_sockets { path: '/srv/a.sock' "
      "problem { code: PROBLEM_CODE_PERMISSION_DENIED text: 'Permission denied' } }");
  EXPECT_EQ(Only(facts_, "rights").line(), directory.line());
}

TEST_F(DiagnosisTest, ADirectoryThatHangsIsAFinding) {
  facts_.watches[0].hangs = true;
  facts_.info.add_directories()->set_path("/run/qemu");
  EXPECT_THAT(Only(facts_, "hang").what, HasSubstr("does not answer"));
}

TEST_F(DiagnosisTest, OneProposedLineDeletesAllLeftoverSockets) {
  facts_.info = FromText<v1::GetServerInfoResponse>(
      "unfollowed_sockets { path: '/run/qemu/a.qmp' "
      "problem { code: PROBLEM_CODE_REFUSED text: 'nobody listens' } } "
      "unfollowed_sockets { path: '/run/qemu/my vm.qmp' "
      "problem { code: PROBLEM_CODE_REFUSED text: 'nobody listens' } }");
  EXPECT_EQ(Only(facts_, "problem").line(),
            "for socket in /run/qemu/a.qmp '/run/qemu/my vm.qmp'; do [ \"$(grep -cF \"$socket\" "
            "/proc/net/unix)\" = 0 ] && rm \"$socket\"; done");
}

TEST_F(DiagnosisTest, TheSocketOfALivingQemuIsNotProposedForDeletion) {
  facts_.info = FromText<v1::GetServerInfoResponse>(
      "unfollowed_sockets { path: '/run/qemu/web1.qmp' "
      "problem { code: PROBLEM_CODE_REFUSED text: 'nobody listens' } }");
  const Finding finding = Only(facts_, "problem");
  EXPECT_THAT(finding.what, HasSubstr("out of reach until the VM's next start"));
  EXPECT_EQ(finding.line(), "ps -o pid,user,lstart,args -p 7");
}

TEST_F(DiagnosisTest, AFileNameCannotInjectALine) {
  facts_.info = FromText<v1::GetServerInfoResponse>(
      "unfollowed_sockets { path: '/run/qemu/a\\necho PWNED >p\\nb.qmp' "
      "problem { code: PROBLEM_CODE_REFUSED text: 'nobody listens' } }");
  const Finding finding = Only(facts_, "problem");
  const std::string line =
      "for socket in $'/run/qemu/a\\necho PWNED >p\\nb.qmp'; do [ \"$(grep -cF \"$socket\" "
      "/proc/net/unix)\" = 0 ] && rm \"$socket\"; done";
  EXPECT_EQ(finding.line(), line);
  const Diagnosis diagnosis = Diagnose(facts_);
  EXPECT_THAT(DiagnosisText(diagnosis, 80, false), HasSubstr("    paste: " + line + "\n"));
  const auto json = nlohmann::json::parse(DiagnosisLines(diagnosis, Form::kJson));
  EXPECT_EQ(json["steps"][0]["line"], line);
}

}  // namespace
}  // namespace vmeventd::client
