#include "client/doctor/diagnosis.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/doctor/diagnosis_text.h"
#include "client/doctor/finding.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/doctor/diagnosis_fixture.h"

namespace vmeventd::client {
namespace {

TEST_F(DiagnosisTest, AHealthyNodeHasNoFindings) {
  const Diagnosis diagnosis = Diagnose(facts_);
  EXPECT_TRUE(diagnosis.findings.empty());
  EXPECT_EQ(diagnosis.qemus, 1);
  EXPECT_EQ(diagnosis.usable, 1);
}

TEST_F(DiagnosisTest, TheSameCauseForManyVmsIsOneFinding) {
  facts_.processes.clear();
  facts_.sockets.clear();
  for (int64_t pid = 1; pid <= 39; ++pid) {
    facts_.processes.push_back(Process(
        pid, "qemu-system-x86",
        {"kvm", "-name", absl::StrCat("web", pid), "-qmp",
         absl::StrCat("unix:/var/lib/libvirt/qemu/domain-", pid, "/monitor.sock,server=on")}));
  }
  const Finding libvirt = Only(facts_, "unwatched");
  EXPECT_THAT(libvirt.subjects, testing::SizeIs(39));
  EXPECT_EQ(libvirt.subjects.back(), "web39 (pid 39)");
  EXPECT_EQ(libvirt.line(), "watch = [\"/run/qemu:*.qmp\"]\nlibvirt = [\"qemu:///system\"]");
  const std::string text = DiagnosisText(Diagnose(facts_), 80, false);
  EXPECT_THAT(text, testing::StartsWith("39: web1 (pid 1), web2 (pid 2), "));
  EXPECT_THAT(text, testing::HasSubstr("web39 (pid 39)  unwatched\n"));
  for (NodeProcess& process : facts_.processes) process.arguments.resize(3);
  const Finding none = Only(facts_, "no-monitor");
  EXPECT_THAT(none.subjects, testing::SizeIs(39));
  EXPECT_THAT(none.line(), testing::HasSubstr("path=/run/qemu/NAME.qmp,"));
}

// QEMUs with the monitors /run/qemu/1.qmp to 39.qmp, which nobody has.
NodeFacts ManyQemus() {
  NodeFacts facts = HealthyNode();
  facts.processes.clear();
  facts.sockets.clear();
  for (uint32_t pid = 1; pid <= 39; ++pid) {
    const std::string path = absl::StrCat("/run/qemu/", pid, ".qmp");
    auto qemu = Process(pid, "qemu-system-x86",
                        {"kvm", "-name", absl::StrCat("web", pid), "-qmp",
                         absl::StrCat("unix:", path, ",server=on,wait=off")});
    qemu.sockets = {{9, 1000 + pid}};
    facts.sockets.push_back({1000 + pid, path, true});
    facts.processes.push_back(std::move(qemu));
  }
  return facts;
}

TEST_F(DiagnosisTest, AProcessThatHoldsManyMonitorsIsOneFinding) {
  NodeFacts facts = ManyQemus();
  EXPECT_TRUE(Diagnose(facts).findings.empty());
  auto holder = Process(99, "socat", {"socat"});
  for (uint32_t pid = 1; pid <= 39; ++pid) {
    facts.sockets.push_back(
        {2000 + pid, absl::StrCat("/run/qemu/", pid, ".qmp"), false, false, 3000 + pid});
    facts.sockets.push_back({3000 + pid, "", false, false, 2000 + pid});
    facts.processes[pid - 1].sockets[10] = 2000 + pid;
    holder.sockets[static_cast<int>(pid)] = 3000 + pid;
  }
  facts.processes.push_back(std::move(holder));
  const Finding finding = Only(facts, "held-monitor");
  EXPECT_THAT(finding.subjects, testing::SizeIs(39));
  EXPECT_THAT(finding.what, testing::StartsWith("The monitor is held by socat (pid 99). "));
  EXPECT_EQ(finding.line(), "ps -o pid,user,lstart,args -p 99");
}

TEST_F(DiagnosisTest, OneProposedLineContinuesAllStoppedQemus) {
  NodeFacts facts = ManyQemus();
  facts.processes.resize(3);
  for (NodeProcess& process : facts.processes) process.state = 'T';
  EXPECT_EQ(Only(facts, "hung-monitor").line(), "kill -CONT 1 2 3");
}

TEST(DiagnoseSilenceTest, NoStartIsProposedIfThePermissionToAskIsMissing) {
  const ServerAddress server = {.path = "/run/vmeventd/vmeventd.sock"};
  const char* const why = "permission denied on the socket /run/vmeventd/vmeventd.sock";
  EXPECT_EQ(DiagnoseSilence(server, why, {EACCES}, "vmevents").findings[0].line(),
            "sudo vmevents doctor");
  const Diagnosis diagnosis = DiagnoseSilence(server, why, {EACCES, "", "vmeventd"}, "vmevents");
  EXPECT_EQ(diagnosis.findings[0].kind, "daemon");
  EXPECT_EQ(diagnosis.findings[0].line(), "sudo usermod -aG vmeventd \"$USER\"");
  EXPECT_EQ(diagnosis.findings[0].what,
            "No permission to query vmeventd: permission denied on the socket "
            "/run/vmeventd/vmeventd.sock. Members of the group vmeventd have it "
            "from their next login on.");
  EXPECT_THAT(DiagnosisText(diagnosis, 200, false),
              testing::EndsWith("Asked unix:/run/vmeventd/vmeventd.sock, without an answer: no "
                                "QEMU was examined. 1 finding.\n"));
}

TEST(DiagnoseSilenceTest, TheProposedLineDependsOnTheAddress) {
  const ServerAddress tcp = {.host = "node1", .port = "9555"};
  ServerAddress tls = tcp;
  tls.tls = TlsOptions{.ca_file = "/ca", .cert_file = "/own"};
  const struct {
    ServerAddress server;
    int error;
    const char* line;
  } kCases[] = {
      {{.path = kSystemSocket}, ENOENT, "systemctl enable --now vmeventd && systemctl status"},
      {{.path = "/tmp/my s"}, 0, "ss -xlp | grep -F -e '/tmp/my s' -e vmeventd"},
      {tcp, EHOSTUNREACH, "ssh node1 systemctl status vmeventd"},
      {tcp, 0, "ssh node1 ss -tlnp | grep -F :9555"},
      {{.host = "127.0.0.1", .port = "9555"}, 0, "ss -tlnp | grep -F :9555"},
      {tls, 0,
       "openssl s_client -connect node1:9555 -CAfile /ca </dev/null | openssl x509 -noout -subject "
       "-issuer -dates -ext subjectAltName,extendedKeyUsage; openssl x509 -noout -subject -issuer "
       "-dates -ext subjectAltName,extendedKeyUsage -in /own"}};
  for (const auto& [server, error, line] : kCases) {
    const Finding found = DiagnoseSilence(server, "nobody listens there", {error}, "").findings[0];
    EXPECT_THAT(found.what, testing::EndsWith("not answer: nobody listens there."));
    EXPECT_THAT(found.line(), testing::StartsWith(line));
  }
}

TEST_F(DiagnosisTest, ALongListOfSubjectsIsCutAndCounted) {
  Diagnosis diagnosis;
  diagnosis.findings.push_back(
      {"problem", std::vector<std::string>(9000, "a"), "b", {{Place::kShell, "c"}}});
  const std::string text = DiagnosisText(diagnosis, 80, false);
  EXPECT_LT(text.size(), 1000);
  EXPECT_THAT(text, testing::StartsWith("9000: a, a, "));
  EXPECT_THAT(text, testing::HasSubstr("and 8960 more"));
}

TEST_F(DiagnosisTest, ControlCharactersAreEscapedInEachOutput) {
  Diagnosis diagnosis;
  diagnosis.findings.push_back({"problem", {"a\x1b[2J\xff"}, "b\nc", {{Place::kShell, "d\x07"}}});
  const std::string text = DiagnosisText(diagnosis, 80, false);
  EXPECT_FALSE(absl::StrContains(text, "\x1b"));
  EXPECT_FALSE(absl::StrContains(text, "\x07"));
  EXPECT_EQ(absl::c_count(DiagnosisLines(diagnosis, Form::kJson), '\n'), 1);
}

TEST_F(DiagnosisTest, TheSummaryNamesTheDaemonAndExplainsItsNumbers) {
  const Diagnosis here = {.asked = "Asked vmeventd 0.2.0 of node1 at unix:/s, which has 2 VMs",
                          .qemus = 4,
                          .followed = 2,
                          .usable = 1};
  EXPECT_EQ(
      DiagnosisText(here, 200, false),
      "Asked vmeventd 0.2.0 of node1 at unix:/s, which has 2 VMs. 4 QEMUs here: 2 followed, 1 "
      "that can be followed, 1 not followed. No findings.\n");
  EXPECT_EQ(DiagnosisText({.asked = "A", .qemus = 1, .followed = 1}, 200, false),
            "A. 1 QEMU here: 1 followed. No findings.\n");
  EXPECT_EQ(DiagnosisText({.asked = "A", .examined = true}, 200, false),
            "A. No QEMU runs here. No findings.\n");
}

TEST_F(DiagnosisTest, OfAnotherNodeOnlyTheDaemonIsExamined) {
  NodeFacts facts;
  facts.address = "node1:9555";
  facts.info.set_version("0.2.0");
  facts.info.set_node("node1");
  EXPECT_EQ(Diagnose(facts).asked,
            "Asked vmeventd 0.2.0 of node1 at node1:9555, which has 0 VMs. Its QEMUs were not "
            "examined: run `vmevents doctor` there");
  EXPECT_THAT(Diagnose(facts).findings, testing::IsEmpty());
}

}  // namespace
}  // namespace vmeventd::client
