#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/doctor/parts.h"

namespace vmeventd::client {
namespace {

// Debian 12's podman and docker.io forbid bpf(2) without CAP_SYS_ADMIN.
constexpr char kSeccompOption[] = "--security-opt seccomp=deploy/container/seccomp.json";

}  // namespace

void DiagnoseSignals(Examination* exam) {
  const std::string& problem = exam->facts().info.signal_senders().problem();
  // A watch that the user switched off is no finding.
  if (problem.empty() || absl::StartsWith(problem, "--")) return;
  const auto is = [&](absl::string_view cause) { return absl::StrContains(problem, cause); };
  const bool is_contained = exam->daemon() != nullptr && IsContained(*exam->daemon());
  const std::string unit = exam->DaemonUnit();
  const char* needs = "";
  Step step = {Place::kShell, "man vmeventd"};
  if (is("PID namespace")) {
    step = {Place::kContainer, "--pid host"};
    needs = " Its container needs an option, in Kubernetes hostPID: true.";
  } else if (is("user namespace")) {
    needs = " The kernel shows senders only to root outside of a user namespace.";
    step.line = "cat /proc/self/uid_map";
  } else if (is_contained && (is("CAP_") || is("seccomp") || is("BTF"))) {
    needs = " Its container needs an option; in Kubernetes, set it in the manifest.";
    step = {Place::kContainer, is("CAP_")      ? "--cap-add BPF --cap-add PERFMON"
                               : is("seccomp") ? kSeccompOption
                                               : "-v /sys/kernel/btf:/sys/kernel/btf:ro"};
  } else if (is("CAP_") && !unit.empty()) {
    needs = " The lines give them to its unit.";
    step.line = ChangeUnit(unit, "senders-capabilities.conf",
                           "AmbientCapabilities=CAP_BPF CAP_PERFMON\\n"
                           "CapabilityBoundingSet=CAP_BPF CAP_PERFMON");
  } else if (is("CAP_")) {
    needs = " A system service, or root, can have these capabilities.";
    step.line = "systemctl enable --now vmeventd";
  } else if (is("seccomp") && !unit.empty()) {
    needs = " The line permits bpf to its unit.";
    step.line = ChangeUnit(unit, "senders-seccomp.conf", "SystemCallFilter=bpf");
  } else if (is("BTF")) {
    needs = " Boot a kernel that has them, as those of the distributions do.";
    step.line = "grep CONFIG_DEBUG_INFO_BTF= /boot/config-$(uname -r)";
  } else if (is("locked down for")) {
    needs = " Boot without lockdown=confidentiality: integrity permits it.";
    step.line = "cat /sys/kernel/security/lockdown; uname -r";
  }
  exam->Add(
      "senders", {exam->facts().address},
      absl::StrCat("vmeventd cannot see who sends a signal, so a VM that is killed is UNKNOWN: ",
                   problem, ".", needs),
      {step});
}

}  // namespace vmeventd::client
