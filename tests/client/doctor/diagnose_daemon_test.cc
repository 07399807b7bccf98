#include <string>

#include "absl/strings/str_cat.h"
#include "client/doctor/diagnosis.h"
#include "client/doctor/finding.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/doctor/diagnosis_fixture.h"
#include "tests/support/proto_text.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(DiagnosisTest, ADaemonThatDoesNotServeIsAFinding) {
  facts_.address = "unix:/run/vmeventd/vmeventd.sock";
  facts_.is_serving = false;
  const Finding finding = Only(facts_, "daemon");
  EXPECT_THAT(finding.subjects, ElementsAre(facts_.address));
  EXPECT_EQ(finding.line(), "vmevents info");
}

TEST_F(DiagnosisTest, AnAddressWithoutAListenerIsAFinding) {
  facts_.info = FromText<v1::GetServerInfoResponse>(
      "listeners { address: '127.0.0.1:7070' listening: true } listeners { address: 'unix:/srv/s' "
      "}");
  auto daemon = Process(9, "vmeventd", {"vmeventd"});
  daemon.cgroups = "0::/system.slice/vmeventd.service\n";
  facts_.processes.push_back(daemon);
  facts_.daemon_pid = 9;
  const Finding finding = Only(facts_, "listen");
  EXPECT_THAT(finding.subjects, ElementsAre("unix:/srv/s"));
  EXPECT_EQ(finding.line(), "journalctl -n 30 --no-pager -u vmeventd.service");
}

TEST_F(DiagnosisTest, AJournalThatCannotBeWrittenHasItsReason) {
  v1::GetServerInfoResponse* const info = &facts_.info;
  info->set_journal_path("/var/lib/my d/journal.db");
  info->mutable_journal_problem()->set_code(v1::PROBLEM_CODE_JOURNAL_UNAVAILABLE);
  info->mutable_journal_problem()->set_text("database or disk is full");
  const Finding full = Only(facts_, "journal");
  EXPECT_THAT(full.subjects, ElementsAre("/var/lib/my d/journal.db"));
  EXPECT_THAT(full.what, HasSubstr("not durable: database or disk is full. They wait"));
  EXPECT_EQ(full.line(), "findmnt -T '/var/lib/my d/' -o TARGET,SOURCE,OPTIONS,AVAIL,USE%");
  info->mutable_journal_problem()->set_code(v1::PROBLEM_CODE_JOURNAL_DAMAGED);
  EXPECT_EQ(Only(facts_, "journal").line(), "systemctl restart vmeventd.service");
}

TEST_F(DiagnosisTest, ADamagedJournalProposesARestartOfTheDaemonThatReportsIt) {
  facts_.info.mutable_journal_problem()->set_code(v1::PROBLEM_CODE_JOURNAL_DAMAGED);
  facts_.processes.push_back(Process(9, "vmeventd", {"vmeventd"}));
  facts_.daemon_pid = 9;
  const std::string id = "0a1b";
  const struct {
    std::string cgroup;
    bool is_root;
    std::string line;
  } kCases[] = {
      {"/system.slice/events@a\\x2db.service", true, "systemctl restart 'events@a\\x2db.service'"},
      {"/user.slice/user-1000.slice/user@1000.service/app.slice/vmeventd.service", false,
       "systemctl --user restart vmeventd.service"},
      {"/user.slice/user-1000.slice/user@1000.service/app.slice/vmeventd.service", true,
       "systemctl --user -M alice@.host restart vmeventd.service"},
      {"/user.slice/user-1000.slice/session-3.scope", true, "ps -o pid,user,lstart,args -p 9"},
      {"/system.slice/docker-0a1b.scope", true, "docker restart 0a1b"},
      {"/machine.slice/libpod-0a1b.scope/container", true, "podman restart 0a1b"},
      {"/system.slice/vmeventd.service/libpod-payload-0a1b", true,
       "systemctl restart vmeventd.service"},
      {"/kubepods.slice/kubepods-pod1.slice/cri-containerd-0a1b.scope", true,
       "ps -o pid,user,lstart,args -p 9"},
  };
  for (const auto& expected : kCases) {
    facts_.processes.back().user = "alice";
    facts_.processes.back().cgroups = absl::StrCat("0::", expected.cgroup, "\n");
    facts_.is_root = expected.is_root;
    EXPECT_EQ(Diagnose(facts_).findings[0].line(), expected.line) << expected.cgroup;
  }
}

TEST_F(DiagnosisTest, AReportedProblemOfAFreeMonitorIsAFinding) {
  facts_.vms = {FromText<v1::Vm>(
      "ref { name: 'web1' pid: 7 } problems { text: 'no file descriptor is left' }")};
  EXPECT_EQ(Only(facts_, "problem").line(), "vmevents vms");
}

TEST_F(DiagnosisTest, AUsersOwnDaemonNeedsNoUnitOfTheSystem) {
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  NodeProcess* const daemon = &facts_.processes.back();
  daemon->daemon->reads_journal = daemon->daemon->reads_logs = false;
  facts_.info.add_libvirt_connections()->set_connected(true);
  EXPECT_THAT(Diagnose(facts_).findings, testing::IsEmpty()) << "another one was asked";
  facts_.daemon_pid = 8;
  EXPECT_THAT(Diagnose(facts_).findings, testing::SizeIs(2));
  daemon->uid = 1000;
  daemon->cgroups = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vmeventd.service";
  EXPECT_THAT(Diagnose(facts_).findings, testing::IsEmpty());
}

TEST_F(DiagnosisTest, ADaemonThatMayNotReadLastWordsIsAFinding) {
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  facts_.daemon_pid = 8;
  NodeProcess* const daemon = &facts_.processes.back();
  facts_.info.add_libvirt_connections()->set_connected(true);
  EXPECT_THAT(Diagnose(facts_).findings, testing::IsEmpty());
  daemon->daemon->reads_logs = false;
  const Finding finding = Only(facts_, "words");
  EXPECT_THAT(finding.what, testing::HasSubstr("it needs CAP_DAC_OVERRIDE"));
  EXPECT_EQ(finding.line(), "grep CapEff /proc/8/status; ls -ld /proc/8/root/var/log/libvirt/qemu");
  facts_.info.clear_libvirt_connections();
  EXPECT_THAT(Diagnose(facts_).findings, testing::IsEmpty());
  daemon->daemon->reads_journal = false;
  EXPECT_THAT(Only(facts_, "words").line(),
              testing::HasSubstr("\\nSupplementaryGroups=systemd-journal"));
  daemon->cgroups = "0::/docker/0a1b";
  EXPECT_EQ(Only(facts_, "words").steps.at(0).place, Place::kContainer);
}

TEST_F(DiagnosisTest, UnreportedHostShutdownsAreAFindingOnlyWithSystemd) {
  facts_.info.mutable_host_shutdown()->mutable_problem()->set_text(
      "no system bus: No such file or directory");
  EXPECT_TRUE(Diagnose(facts_).findings.empty());
  facts_.has_systemd = true;
  EXPECT_THAT(Only(facts_, "host").what,
              testing::EndsWith("no system bus: No such file or directory."));
}

}  // namespace
}  // namespace vmeventd::client
