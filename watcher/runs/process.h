#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "watcher/signals/process_stat.h"

// The facts of a process in /proc.

namespace vmeventd {

// The present time, as the start ticks of a process that is started now.
uint64_t StartTicksNow();

// Returns whether `pid` has a QEMU's name, which any process can give itself; also true if the name
// cannot be read.
bool HasNameOfQemu(int64_t pid);

// Returns whether `pid` is about to end: it exits, or a SIGKILL is pending. False if that cannot be
// read.
bool IsDying(int64_t pid);

// States of the threads of `pid`, for people: "1 D (waits in the kernel), 4 S (sleeps)". Empty:
// they cannot be read.
std::string DescribeThreads(int64_t pid);

// Reads the stat file of `pid`. Unset: the process has ended, or /proc hides it.
std::optional<ProcessStat> ReadProcessStat(int64_t pid);

// Start time of a process with those ticks, by the node's clock.
absl::Time ProcessStartTime(uint64_t start_ticks);

}  // namespace vmeventd
