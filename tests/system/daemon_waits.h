#pragma once

#include <string>

#include "tests/support/daemon.h"

namespace vmeventd::e2e {

// Waits until the daemon has no command under way: QEMU 7.2 may hang if it is ended over one
// (docs/internals/qemu.md).
void WaitUntilAttached(Daemon& daemon, const std::string& name);

// Waits until the daemon has seen that the VM was migrated away, which its log says. QEMU's own
// `completed` is too early: a QEMU that is ended at once may not have answered the daemon yet.
void WaitUntilMigratedAway(const Daemon& daemon, const std::string& name);

}  // namespace vmeventd::e2e
