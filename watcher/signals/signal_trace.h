#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "watcher/core/oom_victim.h"
#include "watcher/core/problem.h"

namespace vmeventd {

// A process as the kernel knows it while it runs.
struct ProcessMark {
  uint32_t uid = 0;     // the real one
  uint64_t cgroup = 0;  // id of its cgroup in v2; the root's if v2 does not manage it
};

// A record that the kernel made when it happened. pids are the host's.
struct SignalRecord {
  enum class Kind { kSignal, kOomVictim };
  Kind kind = Kind::kSignal;
  absl::Duration time;  // time since the boot, the host's sleep included
  int64_t target = 0;   // the process that the signal was sent to, or the OOM killer named
  int signal = 0;       // kSignal, like the members up to `victim`
  bool by_kernel = false;
  int64_t context = 0;     // process that ran when the kernel sent it on its own; 0: none
  std::string ended_with;  // see SignalSender
  // True if the signal's code does not show who sent it: the process that ran, or a timer or the
  // like that expired meanwhile.
  bool unclear = false;
  int64_t sender = 0;                      // the process that ran
  int64_t sender_parent = 0;               // 0: not recorded
  std::optional<ProcessMark> sender_mark;  // unset: not recorded, like the next two
  std::string sender_comm;                 // the process's name
  // The user from whose login the sender descends, and the login session, as the kernel's audit
  // numbers them. Unset: no login, as for a service; or not recorded.
  std::optional<uint32_t> login_uid;
  std::optional<uint32_t> login_session;
  std::optional<ProcessMark> target_mark;
  OomVictim victim;  // kOomVictim
};

// The kernel's records of the signals that end a process (SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGKILL
// and SIGTERM, to all processes) and of its OOM victims: the border of this folder to the outside.
// Tests use a fake. A record is there before the process has ended. Loop thread.
class SignalTrace {
 public:
  virtual ~SignalTrace() = default;
  // Descriptor that is readable (level-triggered) from the arrival of a record until Read().
  virtual int fd() const = 0;
  // Appends what was recorded since the last call, by this daemon or one before it. It includes all
  // that a process was sent before it ended, unless that was lost.
  virtual void Read(std::vector<SignalRecord>* out) = 0;
  // Returns how many records were dropped so far because they were not read fast enough, including
  // those of processes that have ended.
  virtual uint64_t lost() const = 0;
  // Returns the descriptors by which another process continues it; empty: none can.
  virtual std::vector<int> descriptors() const { return {}; }
};

// A trace, or why there is none; both empty: not wanted.
struct SignalTracing {
  std::shared_ptr<SignalTrace> trace;
  Problem problem = {};
};

}  // namespace vmeventd
