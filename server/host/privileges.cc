#include "server/host/privileges.h"

#include <cap-ng.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

constexpr std::array<unsigned, 7> kKept = {CAP_DAC_OVERRIDE, CAP_NET_ADMIN,        CAP_SYS_PTRACE,
                                           CAP_CHOWN,        CAP_NET_BIND_SERVICE, CAP_BPF,
                                           CAP_PERFMON};

bool Have(unsigned capability) { return capng_have_capability(CAPNG_EFFECTIVE, capability) == 1; }

}  // namespace

bool DropCapabilities() {
  if (capng_get_caps_process() != 0) return false;
  std::vector<unsigned> retained;
  for (const unsigned capability : kKept) {
    if (Have(capability)) retained.push_back(capability);
  }
  capng_clear(CAPNG_SELECT_CAPS);
  for (const unsigned capability : retained) {
    capng_update(CAPNG_ADD, static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
                 capability);
  }
  return capng_apply(CAPNG_SELECT_CAPS) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

bool DropTracing() {
  if (capng_get_caps_process() != 0) return false;
  for (const unsigned capability : {CAP_BPF, CAP_PERFMON}) {
    if (capng_update(CAPNG_DROP, static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
                     capability) != 0) {
      return false;
    }
  }
  return capng_apply(CAPNG_SELECT_CAPS) == 0;
}

std::vector<std::string> MissingRights(const std::string& exit_status_source) {
  std::vector<std::string> out;
  if (capng_get_caps_process() != 0) return out;
  if (!Have(CAP_DAC_OVERRIDE)) {
    out.push_back(absl::StrCat(
        "without CAP_DAC_OVERRIDE, only the VMs whose monitors the user ", geteuid(),
        " may write to are followed (the others are listed with that problem), and shutdown files "
        "are written only where it may write"));
  }
  if (exit_status_source == "none") {
    out.emplace_back(
        "without CAP_NET_ADMIN, and before Linux 6.15, the kernel does not report how a process "
        "ended: a QEMU that is killed or crashes is PROCESS_EXITED, without its signal");
  }
  return out;
}

uint64_t RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;  // the kernel's own default
  rlimit raised = limit;
  raised.rlim_cur = raised.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  return limit.rlim_cur;
}

DescriptorShares ShareDescriptors(uint64_t limit, size_t listeners, int wanted) {
  constexpr uint64_t kOwn = 64;  // files, sockets and timers of the daemon itself
  const uint64_t all_want = listeners * static_cast<uint64_t>(wanted);
  const uint64_t reserve = std::min<uint64_t>(all_want + kOwn, std::max<uint64_t>(limit / 4, 32));
  const uint64_t vms = limit > reserve ? limit - reserve : 0;
  const uint64_t each = (reserve - std::min(kOwn, reserve / 2)) / std::max<size_t>(listeners, 1);
  return {.vms = static_cast<int>(std::min<uint64_t>(vms, 1 << 20)),
          .listener = std::min(wanted, static_cast<int>(each))};
}

}  // namespace vmeventd
