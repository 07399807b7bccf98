#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "watcher/core/vm_event.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd {

// Facts of a process that show whether another may descend from it.
struct ProcessOrigin {
  int64_t pid = 0;
  uint64_t start_ticks = 0;     // field 22 of /proc/PID/stat; 0: not known
  std::optional<uint32_t> uid;  // the real one
  std::string cgroup;
};

// Reads processes as they are now. `root` stands before every path, for tests.
class ProcessReader {
 public:
  explicit ProcessReader(std::string root = "") : root_(std::move(root)) {}

  // Reads the facts of `pid`, which lives.
  ProcessOrigin OriginOf(int64_t pid, uint64_t start_ticks) const;

  // The sender of `record`, a signal to `target`, as it is at `now`, which is since the boot. A
  // process that began after the signal has the number of one that is gone, and is not it.
  SignalSender SenderOf(const SignalRecord& record, const ProcessOrigin& target,
                        absl::Duration now) const;
  // The sender as the record has it, without a look at it.
  static SignalSender RecordedSenderOf(const SignalRecord& record, const ProcessOrigin& target);
  // `target`, which is gone, as `record` has it: whether its cgroup was that of the sender.
  ProcessOrigin RecordedOrigin(const SignalRecord& record, ProcessOrigin target) const;

  // Returns whether `pid` is the first process of a PID namespace below this one; unset: it is
  // gone.
  std::optional<bool> LeadsNamespace(int64_t pid) const;

  // The process of which `pid` is a thread; unset: there is none.
  std::optional<int64_t> ProcessOf(int64_t pid) const;

 private:
  struct Stat {
    int64_t parent = 0;
    int64_t session = 0;
    uint64_t start_ticks = 0;
    bool ended = false;
    bool leads_session = false;
  };
  std::string Read(int64_t pid, absl::string_view file) const;
  std::optional<Stat> ReadStat(int64_t pid) const;
  std::optional<uint32_t> ReadUid(int64_t pid) const;
  std::string ReadCgroup(int64_t pid) const;
  std::string ReadExecutable(int64_t pid) const;
  bool MayDescendFrom(const ProcessOrigin& target, const Stat& stat, uint32_t uid,
                      absl::string_view cgroup) const;

  const std::string root_;
};

// Returns whether the sender of `record` was certainly no process that QEMU had started, by its
// user and cgroup alone: another user than a QEMU's that is not root, which can have no process of
// others; or root, in another cgroup.
bool IsOfAnother(const SignalRecord& record);

// Earliest start of a process with those ticks, by the clock of SignalRecord::time.
absl::Duration StartOf(uint64_t start_ticks);

// Returns the time on that clock.
absl::Duration SinceBoot();

// Returns the wall clock's time at a time of that clock.
absl::Time WallTimeOf(absl::Duration since_boot);

// The text after `name` in the first line of a file that begins with it, without the space around;
// empty: there is none.
absl::string_view ValueInLine(absl::string_view text, absl::string_view name);

}  // namespace vmeventd
