#pragma once

#include <string>

// Features of the machine, detected without the product's code. Only these decide whether a test
// that needs a feature is skipped. If the machine has the feature and the product does not use it,
// the test fails.

namespace vmeventd {

// Each function returns why this machine or this process's rights do not permit the feature; empty:
// they permit it.

// BPF programs at the kernel's tracepoints, with pids of this process's PID namespace.
std::string WhyNoSignalTrace();
// The exit status of a reaped process from its pidfd (PIDFD_INFO_EXIT).
std::string WhyNoPidfdExitStatus();
// The exit status of a process from the process connector.
std::string WhyNoProcConnector();
// The exit status from a pidfd or from the process connector.
std::string WhyNoExitStatus();
// Time namespaces, in which the clocks of a program differ from the machine's.
std::string WhyNoTimeNamespace();
// FUSE file systems, which require /dev/fuse and the right to mount.
std::string WhyNoFuse();

// Returns whether the process connector works without CAP_NET_ADMIN: since Linux 6.6.
bool ProcConnectorIsForAll();

}  // namespace vmeventd
