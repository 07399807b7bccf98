#include "tests/system/daemon_waits.h"

#include <algorithm>
#include <vector>

#include "tests/support/wait.h"

namespace vmeventd::e2e {

void WaitUntilAttached(Daemon& daemon, const std::string& name) {
  WaitUntil(name + " is attached", [&] {
    const std::vector<v1::Vm> vms = daemon.ListVms(/*include_stopped=*/false);
    return std::any_of(vms.begin(), vms.end(),
                       [&](const v1::Vm& vm) { return vm.ref().name() == name && vm.attached(); });
  });
}

void WaitUntilMigratedAway(const Daemon& daemon, const std::string& name) {
  daemon.WaitLog(name + " was migrated away");
}

}  // namespace vmeventd::e2e
