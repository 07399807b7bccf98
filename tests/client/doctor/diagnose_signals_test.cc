#include "client/doctor/diagnosis.h"
#include "client/doctor/finding.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/doctor/diagnosis_fixture.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;

TEST_F(DiagnosisTest, EachReasonForUnknownSendersHasItsFix) {
  v1::Problem* const problem = facts_.info.mutable_signal_senders()->mutable_problem();
  problem->set_code(v1::PROBLEM_CODE_SWITCHED_OFF);
  EXPECT_TRUE(Diagnose(facts_).findings.empty()) << "nobody misses it";
  problem->set_text("in the daemon's words");
  const struct {
    v1::ProblemCode code;
    const char* line;
  } kCases[] = {{v1::PROBLEM_CODE_PID_NAMESPACE, "--pid host"},
                {v1::PROBLEM_CODE_NO_CAPABILITY, "systemctl enable --now vmeventd"},
                {v1::PROBLEM_CODE_NO_KERNEL_TYPES, "CONFIG_DEBUG_INFO_BTF"},
                {v1::PROBLEM_CODE_USER_NAMESPACE, "uid_map"},
                {v1::PROBLEM_CODE_KERNEL_LOCKDOWN, "/sys/kernel/security/lockdown"},
                {v1::PROBLEM_CODE_CANNOT_TRACE, "man vmeventd"}};
  for (const auto& expected : kCases) {
    problem->set_code(expected.code);
    const Finding found = Only(facts_, "senders");
    EXPECT_THAT(found.what,
                testing::StartsWith("vmeventd cannot see who sends a signal, so a VM that is "
                                    "killed is UNKNOWN: in the daemon's words."));
    EXPECT_THAT(found.line(), testing::HasSubstr(expected.line));
  }
}

TEST_F(DiagnosisTest, AContainerWithoutBpfGetsTheOptionThatAddsIt) {
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  facts_.processes[1].cgroups = "0::/docker/0a1b";
  facts_.daemon_pid = 8;
  v1::Problem* const problem = facts_.info.mutable_signal_senders()->mutable_problem();
  problem->set_code(v1::PROBLEM_CODE_NO_CAPABILITY);
  EXPECT_EQ(Only(facts_, "senders").line(), "--cap-add BPF --cap-add PERFMON");
  problem->set_code(v1::PROBLEM_CODE_SECCOMP);
  EXPECT_THAT(Only(facts_, "senders").line(), HasSubstr("--security-opt seccomp="));
  problem->set_code(v1::PROBLEM_CODE_NO_KERNEL_TYPES);
  EXPECT_EQ(Only(facts_, "senders").line(), "-v /sys/kernel/btf:/sys/kernel/btf:ro");
}

TEST_F(DiagnosisTest, AUnitWithoutBpfGetsTheSettingThatAddsIt) {
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  facts_.processes[1].cgroups = "0::/system.slice/vmeventd.service";
  facts_.daemon_pid = 8;
  v1::Problem* const problem = facts_.info.mutable_signal_senders()->mutable_problem();
  problem->set_code(v1::PROBLEM_CODE_NO_CAPABILITY);
  EXPECT_EQ(Only(facts_, "senders").line(),
            "install -d /etc/systemd/system/vmeventd.service.d && printf "
            "'[Service]\\nAmbientCapabilities=CAP_BPF CAP_PERFMON\\nCapabilityBoundingSet=CAP_BPF "
            "CAP_PERFMON\\n' >/etc/systemd/system/vmeventd.service.d/senders-capabilities.conf && "
            "systemctl daemon-reload && systemctl restart vmeventd.service");
  problem->set_code(v1::PROBLEM_CODE_SECCOMP);
  EXPECT_THAT(Only(facts_, "senders").line(), HasSubstr("'[Service]\\nSystemCallFilter=bpf\\n'"));
}

TEST_F(DiagnosisTest, AUnitNameCannotInjectCommands) {
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  facts_.processes[1].cgroups = "0::/system.slice/events@a\\x2db;c.service";
  facts_.daemon_pid = 8;
  facts_.info.mutable_signal_senders()->mutable_problem()->set_code(v1::PROBLEM_CODE_SECCOMP);
  EXPECT_EQ(Only(facts_, "senders").line(),
            "install -d '/etc/systemd/system/events@a\\x2db;c.service.d' && printf "
            "'[Service]\\nSystemCallFilter=bpf\\n' "
            ">'/etc/systemd/system/events@a\\x2db;c.service.d/senders-seccomp.conf' && systemctl "
            "daemon-reload && systemctl restart 'events@a\\x2db;c.service'");
}

}  // namespace
}  // namespace vmeventd::client
