#include "client/doctor/diagnose_signals.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "client/doctor/commands_to_paste.h"

namespace vmeventd::client {
namespace {

// Debian 12's podman and docker.io forbid bpf(2) without CAP_SYS_ADMIN.
constexpr char kSeccompOption[] = "--security-opt seccomp=deploy/container/seccomp.json";

struct Remedy {
  const char* explanation = "";  // begins with a space
  Step step = {Place::kShell, "man vmeventd"};
};

// The option that a container lacks; null: no option solves the problem.
const char* ContainerOption(v1::ProblemCode code) {
  switch (code) {
    case v1::PROBLEM_CODE_NO_CAPABILITY:
      return "--cap-add BPF --cap-add PERFMON";
    case v1::PROBLEM_CODE_SECCOMP:
      return kSeccompOption;
    case v1::PROBLEM_CODE_NO_KERNEL_TYPES:
      return "-v /sys/kernel/btf:/sys/kernel/btf:ro";
    default:
      return nullptr;
  }
}

Remedy RemedyFor(v1::ProblemCode code, const Examination& exam) {
  const char* const option = ContainerOption(code);
  if (option != nullptr && exam.daemon() != nullptr && IsContained(*exam.daemon())) {
    return {" Its container needs an option; in Kubernetes, set it in the manifest.",
            {Place::kContainer, option}};
  }
  const std::string unit = exam.DaemonUnit();
  switch (code) {
    case v1::PROBLEM_CODE_PID_NAMESPACE:
      return {" Its container needs an option, in Kubernetes hostPID: true.",
              {Place::kContainer, "--pid host"}};
    case v1::PROBLEM_CODE_USER_NAMESPACE:
      return {" The kernel shows senders only to root outside of a user namespace.",
              {Place::kShell, "cat /proc/self/uid_map"}};
    case v1::PROBLEM_CODE_NO_CAPABILITY:
      if (unit.empty()) {
        return {" A system service, or root, can have these capabilities.",
                {Place::kShell, "systemctl enable --now vmeventd"}};
      }
      return {" The lines give them to its unit.",
              {Place::kShell, ChangeUnit(unit, "senders-capabilities.conf",
                                         "AmbientCapabilities=CAP_BPF CAP_PERFMON\\n"
                                         "CapabilityBoundingSet=CAP_BPF CAP_PERFMON")}};
    case v1::PROBLEM_CODE_SECCOMP:
      if (unit.empty()) return {};
      return {" The line permits bpf to its unit.",
              {Place::kShell, ChangeUnit(unit, "senders-seccomp.conf", "SystemCallFilter=bpf")}};
    case v1::PROBLEM_CODE_NO_KERNEL_TYPES:
      return {" Boot a kernel that has them, as those of the distributions do.",
              {Place::kShell, "grep CONFIG_DEBUG_INFO_BTF= /boot/config-$(uname -r)"}};
    case v1::PROBLEM_CODE_KERNEL_LOCKDOWN:
      return {" Boot without lockdown=confidentiality: integrity permits it.",
              {Place::kShell, "cat /sys/kernel/security/lockdown; uname -r"}};
    default:
      return {};
  }
}

}  // namespace

void DiagnoseSignals(Examination* exam) {
  const v1::SignalSenderWatch& senders = exam->facts().info.signal_senders();
  // A watch that the user switched off is no finding.
  if (!senders.has_problem() || senders.problem().code() == v1::PROBLEM_CODE_SWITCHED_OFF) return;
  const Remedy remedy = RemedyFor(senders.problem().code(), *exam);
  exam->Add(
      "senders", {exam->facts().address},
      absl::StrCat("vmeventd cannot see who sends a signal, so a VM that is killed is UNKNOWN: ",
                   senders.problem().text(), ".", remedy.explanation),
      {remedy.step});
}

}  // namespace vmeventd::client
