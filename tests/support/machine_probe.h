#pragma once

#include <string>

// Features of the machine, found without the product's code: a test that needs one is skipped by
// these alone. Where the machine has it, the product must use it, or the test fails.

namespace vmeventd {

// Each returns why this machine and this process's rights do not allow it; empty: they do.

// BPF programs at the kernel's tracepoints, whose pids are those of this process's namespace.
std::string WhyNoSignalTrace();
// The exit status of a reaped process from its pidfd (PIDFD_INFO_EXIT).
std::string WhyNoPidfdExitStatus();
// The same from the process connector.
std::string WhyNoProcConnector();
// From either.
std::string WhyNoExitStatus();
// File systems of programs (FUSE), which take /dev/fuse and the right to mount.
std::string WhyNoFuse();

// The process connector takes no CAP_NET_ADMIN: since Linux 6.6.
bool ProcConnectorIsForAll();

}  // namespace vmeventd
