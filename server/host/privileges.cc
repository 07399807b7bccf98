#include "server/host/privileges.h"

#include <cap-ng.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

bool Have(unsigned capability) { return capng_have_capability(CAPNG_EFFECTIVE, capability) == 1; }

// Drops every other capability. False: the kernel refused.
bool RetainOnly(std::initializer_list<unsigned> capabilities) {
  if (capng_get_caps_process() != 0) return false;
  std::vector<unsigned> retained;
  std::copy_if(capabilities.begin(), capabilities.end(), std::back_inserter(retained), Have);
  capng_clear(CAPNG_SELECT_CAPS);
  for (const unsigned capability : retained) {
    capng_update(CAPNG_ADD, static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
                 capability);
  }
  return capng_apply(CAPNG_SELECT_CAPS) == 0;
}

}  // namespace

bool DropCapabilities() {
  return RetainOnly({CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_CHOWN,
                     CAP_NET_BIND_SERVICE, CAP_BPF, CAP_PERFMON}) &&
         prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

bool DropTracing() {
  return RetainOnly(
      {CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_CHOWN, CAP_NET_BIND_SERVICE});
}

std::vector<std::string> MissingRights(bool needs_exit_statuses) {
  std::vector<std::string> out;
  if (capng_get_caps_process() != 0) return out;
  if (!Have(CAP_DAC_OVERRIDE)) {
    out.push_back(absl::StrCat(
        "without CAP_DAC_OVERRIDE, only the VMs whose monitors the user ", geteuid(),
        " may write to are followed (the others are listed with that problem), and shutdown files "
        "are written only where it may write"));
  }
  if (needs_exit_statuses) {
    out.emplace_back(
        "without CAP_NET_ADMIN, and before Linux 6.15, the kernel does not report how a process "
        "ended: a QEMU that is killed or crashes is UNKNOWN, PROCESS_EXITED");
  }
  return out;
}

}  // namespace vmeventd
