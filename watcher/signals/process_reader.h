#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "watcher/core/signal_sender.h"
#include "watcher/signals/process_stat.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd {

// Facts of a process that show whether another may descend from it.
struct ProcessOrigin {
  int64_t pid = 0;
  uint64_t start_ticks = 0;     // field 22 of /proc/PID/stat; 0: not known
  std::optional<uint32_t> uid;  // the real one
  std::string cgroup;
  // The session that it was born in; 0: not known, as for a session leader.
  int64_t session = 0;
  // The first process of the innermost PID namespace that it is in and does not lead; 0: it is in
  // none below this one, or that is not known.
  int64_t first_process = 0;
};

// Reads processes as they are now. `root` stands before every path, for tests.
class ProcessReader {
 public:
  explicit ProcessReader(std::string root = "") : root_(std::move(root)) {}

  // Reads the facts of `pid`, which lives.
  ProcessOrigin OriginOf(int64_t pid, uint64_t start_ticks) const;

  // Returns the sender of `record`, a signal to `target`, as it is at `now` (time since the boot).
  // A process that began after the signal has only the same pid, and is not the sender.
  SignalSender SenderOf(const SignalRecord& record, const ProcessOrigin& target,
                        absl::Duration now) const;
  // Returns the sender from the record alone, without reading /proc.
  static SignalSender RecordedSenderOf(const SignalRecord& record, const ProcessOrigin& target);
  // If the sender has a login, adds what systemd-logind knows of its session: the user's name and
  // the remote host.
  void AddLogin(SignalSender* sender) const;
  // Returns `target`, which may be gone, with the user of the record, and with the sender's cgroup
  // if the record shows that both had the same one.
  ProcessOrigin RecordedOrigin(const SignalRecord& record, ProcessOrigin target) const;

  // Returns whether `pid` is the first process of a PID namespace below this one; unset: it is
  // gone.
  std::optional<bool> LeadsNamespace(int64_t pid) const;

 private:
  std::string Read(int64_t pid, absl::string_view file) const;
  std::optional<ProcessStat> ReadStat(int64_t pid) const {
    return ParseProcessStat(Read(pid, "stat"));
  }
  std::optional<uint32_t> ReadUid(int64_t pid) const;
  std::string ReadCgroup(int64_t pid) const;
  std::string ReadExecutable(int64_t pid) const;
  int64_t FirstProcessAbove(const ProcessStat& stat) const;
  bool IsOfOlderSession(const ProcessOrigin& target, const ProcessStat& stat) const;
  bool IsGanetiNoded(const ProcessStat& stat) const;
  enum class Descent { kNone, kNotExcluded, kShown };
  Descent DescentFrom(const ProcessOrigin& target, const ProcessStat& stat, uint32_t uid,
                      absl::string_view cgroup) const;

  const std::string root_;
};

// Returns whether user and cgroup alone prove that QEMU did not start the sender of `record`:
// QEMU's user is not root, so it has no processes of others, and the sender has another user; or
// the sender is root in another cgroup.
bool IsOfAnother(const SignalRecord& record);

}  // namespace vmeventd
