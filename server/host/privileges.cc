#include "server/host/privileges.h"

#include <cap-ng.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

constexpr std::array<unsigned, 6> kKept = {CAP_DAC_OVERRIDE, CAP_NET_ADMIN,        CAP_SYS_PTRACE,
                                           CAP_CHOWN,        CAP_NET_BIND_SERVICE, CAP_PERFMON};

bool Have(unsigned capability) { return capng_have_capability(CAPNG_EFFECTIVE, capability) == 1; }

}  // namespace

bool DropCapabilities() {
  if (capng_get_caps_process() != 0) return false;
  std::vector<unsigned> kept;
  for (const unsigned capability : kKept) {
    if (Have(capability)) kept.push_back(capability);
  }
  capng_clear(CAPNG_SELECT_CAPS);
  for (const unsigned capability : kept) {
    capng_update(CAPNG_ADD, static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
                 capability);
  }
  return capng_apply(CAPNG_SELECT_CAPS) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

bool DropPerfmon() {
  if (capng_get_caps_process() != 0) return false;
  if (capng_update(CAPNG_DROP, static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
                   CAP_PERFMON) != 0) {
    return false;
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

}  // namespace vmeventd
