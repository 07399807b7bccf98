#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "watcher/core/signal_sender.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd {

// The stat file of a process or a thread in /proc.
struct ProcessStat {
  int64_t pid = 0;
  std::string name;  // of the command; may hold anything
  char state = 0;    // as proc(5) has them
  int64_t parent = 0;
  int64_t session = 0;
  uint32_t flags = 0;
  uint64_t start_ticks = 0;
  std::optional<int> exit_code;  // as wait(2) encodes it; also 0 if the reader may not see it

  bool ended() const { return state == 'Z' || state == 'X'; }
  bool leads_session() const { return session == pid; }
};
// Parses the text of such a file; unset: it is malformed.
std::optional<ProcessStat> ParseProcessStat(absl::string_view text);

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

// Earliest start of a process with those ticks, by the clock of SignalRecord::time.
absl::Duration StartOf(uint64_t start_ticks);

// Returns the present time on that clock, which also runs while the host sleeps.
absl::Duration SinceBoot();

// Converts a time on that clock to the wall clock.
absl::Time WallTimeOf(absl::Duration since_boot);

// The text after `name` in the first line of a file that begins with it, without the space around;
// empty: there is none.
absl::string_view ValueInLine(absl::string_view text, absl::string_view name);

}  // namespace vmeventd
