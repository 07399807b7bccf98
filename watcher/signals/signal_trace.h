#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "watcher/core/run_info.h"

namespace vmeventd {

// Record of the kernel, made as it happened. pids are the host's.
struct SignalRecord {
  enum class Kind { kSignal, kOomVictim };
  Kind kind = Kind::kSignal;
  absl::Duration time;  // since the boot, the time that the host slept included
  int64_t target = 0;   // the thread that the signal was sent to, or that was named
  int signal = 0;       // kSignal, like the next two
  bool by_kernel = false;
  int64_t sender = 0;  // the process that ran
  OomVictim victim;    // kOomVictim
};

// The kernel's records of the signals that end a process (SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGKILL
// and SIGTERM, to all processes) and of its OOM victims: the border to the outside of this folder,
// of which tests have a fake. A record is there before the process has ended. Loop thread.
class SignalTrace {
 public:
  virtual ~SignalTrace() = default;
  // Readable, level-triggered, until Read(), after a record came or problem() may have changed.
  virtual int fd() const = 0;
  // Appends what was recorded since the last call. Those of one processor are in their order.
  virtual void Read(std::vector<SignalRecord>* out) = 0;
  // Returns how many records the kernel has said so far that it threw away, because they were not
  // read fast enough. It says so of a processor with the next record there.
  virtual uint64_t lost() const = 0;
  // The same, of the last ones as well: the kernel is asked, which interrupts every processor.
  virtual uint64_t CountLost() = 0;
  // Looks for processors that came since, or came back, and begins to record there, which takes a
  // moment; Read() does so as well where the kernel says that one came. What was recorded on one
  // that went away is still read.
  virtual void FollowProcessors() = 0;
  // Why some processors are not recorded, or those that come will not be; empty: all are.
  virtual std::string problem() const = 0;
};

}  // namespace vmeventd
