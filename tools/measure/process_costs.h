#pragma once

#include <sys/types.h>

#include "absl/time/time.h"

namespace vmeventd::bench {

// The processor time of a process.
absl::Duration CpuOf(pid_t pid);
// The number of wakeups of all its threads together.
double Wakeups(pid_t pid);
double AnonymousKib(pid_t pid);
double ResidentKib(pid_t pid);
// The number of calls with which a process has read and written files.
double FileCalls(pid_t pid);
// Returns when the process does almost nothing any more.
void Settle(pid_t pid);

}  // namespace vmeventd::bench
