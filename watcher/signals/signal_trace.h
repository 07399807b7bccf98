#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "watcher/core/run_info.h"

namespace vmeventd {

// A process as the kernel knows it while it runs.
struct ProcessMark {
  uint32_t uid = 0;     // the real one
  uint64_t cgroup = 0;  // its id in cgroup v2, of the root where that has no part in it
};

// Record of the kernel, made as it happened. pids are the host's.
struct SignalRecord {
  enum class Kind { kSignal, kOomVictim };
  Kind kind = Kind::kSignal;
  absl::Duration time;  // time since the boot, the host's sleep included
  int64_t target = 0;   // the process that the signal was sent to, or the OOM killer named
  int signal = 0;       // kSignal, like what follows up to the victim
  bool by_kernel = false;
  int64_t context = 0;  // the process that ran as the kernel sent it of its own; 0: none
  // True if the sender may be the process that ran, or a timer or the like that went off meanwhile:
  // the signal has a code that both may give it.
  bool unclear = false;
  int64_t sender = 0;                      // the process that ran
  std::optional<ProcessMark> sender_mark;  // unset: not recorded, like the next two
  std::string sender_comm;                 // name of the thread that ran
  std::optional<ProcessMark> target_mark;
  OomVictim victim;  // kOomVictim
};

// The kernel's records of the signals that end a process (SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGKILL
// and SIGTERM, to all processes) and of its OOM victims: the border to the outside of this folder,
// of which tests have a fake. A record is there before the process has ended. Loop thread.
class SignalTrace {
 public:
  virtual ~SignalTrace() = default;
  // Readable, level-triggered, until Read(), after a record came.
  virtual int fd() const = 0;
  // Appends what was recorded since the last call, by this daemon or one before it. What a process
  // was sent before it ended is there, unless it was lost.
  virtual void Read(std::vector<SignalRecord>* out) = 0;
  // Returns how many records were thrown away so far, because they were not read fast enough: those
  // as well that a process which has ended was to have.
  virtual uint64_t lost() const = 0;
  // Returns the descriptors by which another process continues it; empty: none can.
  virtual std::vector<int> descriptors() const { return {}; }
};

}  // namespace vmeventd
