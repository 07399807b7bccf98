#include "tests/support/machine_probe.h"

#include <linux/capability.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// The namespaces that the kernel begins with (PROC_PID_INIT_INO, PROC_USER_INIT_INO).
constexpr char kHostPids[] = "pid:[4026531836]";
constexpr char kHostUsers[] = "user:[4026531837]";

std::string TextOf(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string TargetOf(const char* path) {
  std::error_code error;
  return std::filesystem::read_symlink(path, error).string();
}

bool HasCapability(int capability) {
  const std::string status = TextOf("/proc/self/status");
  const size_t at = status.find("CapEff:");
  if (at == std::string::npos) return false;
  const uint64_t effective = std::stoull(status.substr(at + 7), nullptr, 16);
  return (effective >> static_cast<unsigned>(capability) & 1) != 0;
}

bool KernelIsAtLeast(int major, int minor) {
  utsname name{};
  std::pair<int, int> release;
  return uname(&name) == 0 &&
         std::sscanf(name.release, "%d.%d", &release.first, &release.second) == 2 &&
         release >= std::pair(major, minor);
}

std::string WhyNoKernel(int major, int minor) {
  return KernelIsAtLeast(major, minor)
             ? ""
             : absl::StrCat("the kernel is older than Linux ", major, ".", minor);
}

// In another PID namespace the kernel reports pids that are not those here; in another user
// namespace, capabilities count only there.
std::string WhyForeign() {
  if (TargetOf("/proc/self/ns/pid") != kHostPids) return "not the host's PID namespace";
  return TargetOf("/proc/self/ns/user") == kHostUsers ? "" : "not the host's user namespace";
}

}  // namespace

std::string WhyNoSignalTrace() {
  if (std::string why = WhyNoKernel(5, 8); !why.empty()) return why;  // BPF's ring buffer
  if (std::string why = WhyForeign(); !why.empty()) return why;
  if (access("/sys/kernel/btf/vmlinux", R_OK) != 0) return "no /sys/kernel/btf/vmlinux";
  if (!HasCapability(CAP_BPF)) return "no CAP_BPF";
  return HasCapability(CAP_PERFMON) ? "" : "no CAP_PERFMON";
}

bool ProcConnectorIsForAll() { return KernelIsAtLeast(6, 6); }

std::string WhyNoPidfdExitStatus() { return WhyNoKernel(6, 15); }

std::string WhyNoProcConnector() {
  if (std::string why = WhyForeign(); !why.empty()) return why;
  // Only the host's network namespace has this file.
  if (!absl::StrContains(TextOf("/proc/self/net/connector"), "cn_proc")) {
    return "no CONFIG_PROC_EVENTS, or not the host's network namespace";
  }
  return ProcConnectorIsForAll() || HasCapability(CAP_NET_ADMIN) ? "" : "no CAP_NET_ADMIN";
}

std::string WhyNoTimeNamespace() {
  if (access("/proc/self/ns/time", F_OK) != 0) return "the kernel has no time namespaces";
  return HasCapability(CAP_SYS_ADMIN) ? "" : "no CAP_SYS_ADMIN";
}

std::string WhyNoFuse() {
  if (access("/dev/fuse", R_OK | W_OK) != 0) return "no /dev/fuse";
  return HasCapability(CAP_SYS_ADMIN) ? "" : "no CAP_SYS_ADMIN";
}

std::string WhyNoExitStatus() {
  std::string pidfd = WhyNoPidfdExitStatus();
  if (pidfd.empty()) return "";
  const std::string connector = WhyNoProcConnector();
  return connector.empty() ? "" : absl::StrCat(pidfd, "; ", connector);
}

}  // namespace vmeventd
