#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/compact.h"
#include "base/counter.h"
#include "base/event_loop.h"
#include "base/system.h"
#include "watcher/host/host_watch.h"
#include "watcher/runs/process.h"
#include "watcher/session/vm_session.h"
#include "watcher/signals/signal_watch.h"

namespace vmeventd {

struct RunContext;
class VmRun;

// Source of the exit status of a process that is no child of this one, once its parent has reaped
// it.
enum class ExitStatusSource {
  kNone,
  kPidfd,          // PIDFD_GET_INFO with PIDFD_INFO_EXIT: Linux 6.15, no privilege
  kProcConnector,  // netlink messages: CAP_NET_ADMIN in the host's own namespaces
};

// "pidfd", "proc-connector", "none".
std::string ExitStatusSourceName(ExitStatusSource source);

// The process connector's socket of a daemon that has stopped.
struct HandedExits {
  UniqueFd socket;  // has received messages since
  // By pid, the processes that it followed, with the status of those whose end it had read.
  absl::flat_hash_map<int64_t, std::optional<int>> wait_statuses;
};

// Finds out how processes have ended that are no children of this one. Loop thread.
//
// A zombie is gone: its memory is released, its files and so its disks are closed, and nobody can
// say when its parent will reap it, if ever. Its run ends at once. The kernel shows the status of a
// zombie and of a reaped process in different places, and the parent decides which of them is there
// when one looks: so both are asked.
//   zombie   field 52 of its stat file, for a reader with ptrace access (the same user, or root)
//   reaped   the source
// Waiting helps in two cases only: a zombie that may not be read, and a message of the connector
// that is on its way.
//
// The process connector (Linux, Documentation/driver-api/connector.rst) reports the end of every
// process; only those of followed processes are stored. The kernel drops messages that are not read
// fast enough.
class ExitStatusReader : public FdHandler {
 public:
  // Finds the source that this kernel and this process's rights allow: pidfd, else the connector,
  // else none. With `only`, that source or none. The connector resumes `handed` if that has a
  // socket; until ForgetHanded(), Follow() then also takes over the status that the previous daemon
  // read. May block for 100 ms. `loop` outlives the reader.
  static std::unique_ptr<ExitStatusReader> Create(EventLoop* loop,
                                                  std::optional<ExitStatusSource> only,
                                                  HandedExits handed = {});
  ~ExitStatusReader() override;

  ExitStatusSource source() const { return source_; }
  // Number of times that messages were dropped. Any thread.
  uint64_t overflows() const { return overflows_.value(); }
  // Socket for HandedExits; -1: the source needs none.
  int socket() const { return connector_.get(); }

  // Prepares for Ask() about `pid`, which lives. Call it once for each Unfollow.
  void Follow(int64_t pid);
  void Unfollow(int64_t pid);
  // Drops the handed-over processes that nobody follows.
  void ForgetHanded();

  struct Answer {
    std::optional<ExitStatus> status;
    bool final = true;  // false: a later call may find more
  };
  // Asks for the status of the process that `pidfd`, which is readable, stands for. `start_ticks`
  // as in PeerProcess. Never blocks.
  Answer Ask(int pidfd, int64_t pid, uint64_t start_ticks);
  // The connector's status of `pid` as wait(2) would report it; unset: not known, yet or ever.
  std::optional<int> WaitStatusOf(int64_t pid);
  // The same, but only from messages that were read before: reads none that wait.
  std::optional<int> WaitStatusRead(int64_t pid) const;

  void OnFdReady(uint32_t events) override;
  // Handles one message from the socket. Public for tests.
  void OnMessage(absl::string_view message);

 private:
  struct Followed {
    int users = 0;
    bool handed = false;  // followed by the previous daemon, until ForgetHanded()
    std::optional<int> wait_status;
  };

  explicit ExitStatusReader(EventLoop* loop) : loop_(loop) {}
  absl::Status Connect(HandedExits handed);
  // Handles what waits in the socket, at most `max_messages`.
  void Read(size_t max_messages);

  EventLoop* const loop_;
  ExitStatusSource source_ = ExitStatusSource::kNone;
  UniqueFd connector_;                               // only with kProcConnector
  absl::flat_hash_map<int64_t, Followed> followed_;  // keyed by pid
  Counter overflows_;
};

// Reads the OOM kills that the kernel counts for each cgroup with a memory controller: `oom_kill`
// in memory.events, which includes the cgroups below; or in memory.oom_control of cgroup v1. A
// process that the kernel kills because the cgroup or the node is out of memory is counted in its
// own cgroup.
class OomCounters {
 public:
  // `root` stands before every path, for tests.
  explicit OomCounters(std::string root = "") : root_(std::move(root)) {}

  struct Count {
    std::string file;  // the file that has it
    uint64_t kills = 0;
  };
  // Returns the count that an OOM kill of `pid` would raise; unset: not known.
  std::optional<Count> Find(int64_t pid) const;

  // Reads `file` again; unset: it cannot be read, because the cgroup was removed, which its manager
  // may do as soon as it is empty. The parent's count does not replace it: that one counts
  // its other VMs as well.
  std::optional<uint64_t> Read(const std::string& file) const;

 private:
  const std::string root_;
};

// Returns the facts that a run needs of `process`, which is tracked. Null `oom_counters`: nothing
// counts OOM kills.
ProcessInfo DescribeProcess(const PeerProcess& process, const OomCounters* oom_counters);

// Follows one process by its pidfd and finds out how it ended: its exit status, and whether the
// kernel killed it because its cgroup was out of memory; and who sent it signals. Calls its run,
// from the loop and from within AwaitEnd. Loop thread.
class ProcessWatch : public FdHandler, public SignalWatch::User {
 public:
  // The process is the one of the run's RunInfo. `context` and `run` outlive the watch.
  ProcessWatch(RunContext* context, VmRun* run) : context_(context), run_(run) {}
  ~ProcessWatch() override;

  // Begins to wait for the end of `process`, which is tracked. An error names the system call that
  // failed; nothing is followed then.
  absl::Status Follow(PeerProcess process);
  // Call it when the process has begun its work, as QEMU has at its first answer: it runs as the
  // user of -runas then.
  void NoteBegun();
  // Marks the end of the followed process as unseen, if it has ended or is about to end.
  void NoteUnseenEnd();
  // Call it when the process is followed again: if it has ended already, or is about to end, marks
  // its end as unseen and late.
  void NoteFound();
  // Releases the process: RunInfo names another one next, or none.
  void Reset();
  // Releases the pidfd, if there is one, to the caller.
  UniqueFd Release();

  // After OnProcessGone: finds out how it ended, at once or after a moment, and ends the run.
  void AwaitEnd();
  // Returns the end of a process that nobody watched and of which `zombie` is left.
  ProcessEnd EndOfZombie(const PeerProcess& zombie);

  // Call it while the process lives: all OOM kills that its cgroup counts were then of others.
  // Returns their number if it has changed.
  std::optional<uint64_t> ReadOomKillsOfOthers() const;

  // Returns whether a process is followed, or has ended and its exit status is not known yet.
  bool followed() const { return pidfd_.valid(); }
  // Returns whether OnProcessGone was called.
  bool gone() const { return gone_; }
  // Returns whether the process has ended, even if the loop has not noticed yet.
  bool ended() const { return gone_ || (pidfd_.valid() && HasEnded(pidfd_.get())); }

  void OnFdReady(uint32_t events) override;
  void OnSignal(const SignalSender& sender) override;
  void OnUnclearSignal(int signal, const std::string& why) override;
  void OnOomVictim(const OomVictim& victim) override;

 private:
  void AskExitStatus();
  ExitStatusReader::Answer AskNow() const;
  std::optional<uint64_t> ReadOomKills() const;
  bool MayBeAnothers() const;
  ProcessEnd EndOf(const std::optional<ExitStatus>& status);

  RunContext* const context_;
  VmRun* const run_;
  UniqueFd pidfd_;
  bool gone_ = false;
  bool end_unseen_ = false;
  bool found_ended_ = false;
  std::string kill_unclear_;  // the reason that OnUnclearSignal() got; empty: none
  // While the kernel is asked for the exit status again.
  struct StatusWait {
    TimerId timer;
    absl::Duration deadline;
    absl::Duration backoff;
  };
  Rare<StatusWait> status_wait_;
};

}  // namespace vmeventd
