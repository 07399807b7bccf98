#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/event_loop.h"
#include "base/system.h"
#include "watcher/core/run_info.h"
#include "watcher/core/vm_event.h"

struct TraceRecord;

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

// A trace, or the reason (for people) why there is none; both empty: not wanted.
struct SignalTracing {
  std::shared_ptr<SignalTrace> trace;
  std::string problem = {};
};

// Begins to record, by programs (BPF) at the kernel's tracepoints signal:signal_generate and
// oom:mark_victim, which write into one ring for all processors. They run for as long as somebody
// holds the descriptors, also where nobody reads the ring. The error tells people why that failed:
// a capability is missing, the kernel has no BTF, a PID namespace other than the host's. It needs
// CAP_BPF and CAP_PERFMON, and none afterwards. `root` stands before every path, for tests.
absl::StatusOr<std::unique_ptr<SignalTrace>> BeginTrace(const std::string& root = "");
// Resumes a trace that another process began, by its descriptors(). It needs CAP_BPF.
// INVALID_ARGUMENT: they are not the descriptors of a trace.
absl::StatusOr<std::unique_ptr<SignalTrace>> ResumeTrace(std::vector<UniqueFd> descriptors);
// Converts a record of the kernel's programs.
SignalRecord Decode(const TraceRecord& record);

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

// Finds in a trace of all processes' signals those to the processes that are followed, and reads at
// once who sent them. Loop thread.
//
// A flood of signals to other processes wakes the loop at most kWakes times a second; meanwhile
// records wait in the trace's memory, or are lost there and counted. In a flood to followed
// processes, kReads senders a second are read; of the other senders, only what the record has is
// known.
class SignalWatch : public FdHandler {
 public:
  static constexpr TokenRate kWakes{.per_second = 100, .burst = 200};
  static constexpr TokenRate kReads{.per_second = 200, .burst = 200};

  class User {
   public:
    virtual ~User() = default;
    // Must not follow or unfollow anything.
    virtual void OnSignal(const SignalSender& sender) = 0;
    // Reports a signal whose sender the record does not prove, for the reason `why`.
    virtual void OnUnclearSignal(int signal, const std::string& why) = 0;
    virtual void OnOomVictim(const OomVictim& victim) = 0;
  };

  // Null `trace`: nothing is recorded, for the reason `problem`. `loop` outlives the watch.
  SignalWatch(EventLoop* loop, std::shared_ptr<SignalTrace> trace, std::string problem,
              ProcessReader reader = ProcessReader());
  ~SignalWatch() override;

  // Reports to `user` the signals to `pid`, which lives and began at `start_ticks`. `user` lives
  // until Unfollow. Call it once for each user; one user a process.
  void Follow(int64_t pid, uint64_t start_ticks, User* user);
  // `user`'s process has begun its work: its user and cgroup are no longer those of the process
  // that started it.
  void NoteBegun(int64_t pid, const User* user);
  // No-op if `user` does not follow `pid`.
  void Unfollow(int64_t pid, User* user);

  // Reports what was recorded by now; for a process that has ended, that is everything.
  void Drain();

  // Returns why the sender of a signal is not known if Drain() reported nothing about it.
  std::string WhyUnknown() const;

  // Returns whether anything is recorded, and why not. Any thread.
  v1::SignalSenderWatch state() const;
  // Number of records that were lost. Any thread.
  uint64_t lost() const { return lost_.value(); }

  void OnFdReady(uint32_t events) override;

 private:
  // Time for which a record from before this watch is stored for a process that is not followed
  // yet, such as a libvirt domain's.
  static constexpr absl::Duration kUnclaimed = absl::Minutes(10);

  // Maximum number of stored signals (the newest ones to any process) that may turn out to have
  // ended a PID namespace.
  static constexpr size_t kMaxEnders = 128;
  // Time in which a first process that was asked to end obeys.
  static constexpr absl::Duration kObeyTime = absl::Minutes(10);

  struct Followed {
    User* user = nullptr;
    ProcessOrigin origin;
  };
  void Rest();
  // The followed process of a record; null: none.
  Followed* Find(const SignalRecord& record);
  void HandOut(const SignalRecord& record, const Followed& followed);
  // Saves `record` if a process may end by it.
  void RememberEnder(const SignalRecord& record);
  // The signal that ended the first process of the PID namespace with which the kernel sent `kill`;
  // `kill` if nobody saw one.
  const SignalRecord& EnderOf(const SignalRecord& kill) const;

  EventLoop* const loop_;
  const std::shared_ptr<SignalTrace> trace_;
  const ProcessReader reader_;
  const std::string problem_;
  absl::flat_hash_map<int64_t, Followed> followed_;  // keyed by pid
  // No record was lost after that time, since the boot.
  absl::Duration lost_until_ = -absl::InfiniteDuration();
  std::vector<SignalRecord> records_;
  // Records from before this watch, whose targets an earlier daemon followed.
  std::vector<SignalRecord> unclaimed_;
  std::deque<SignalRecord> enders_;  // the oldest first
  const absl::Duration begun_;       // time since the boot
  TokenBucket wakes_{kWakes};
  TokenBucket reads_{kReads};
  TimerId rest_;
  Counter lost_;
};

}  // namespace vmeventd
