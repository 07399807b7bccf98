#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/system.h"

namespace vmeventd {

// Ensures that `path` is a directory that this process may write to, even if its file system is
// read-only now. Creates a missing one with mode 0750, for `group` if that is set; missing parents
// with 0755. The error names the directory and the cause.
absl::Status MakeOwnDirectory(const std::string& path, std::optional<gid_t> group = std::nullopt);

// FAILED_PRECONDITION: the directory belongs to another user than this process's, or another group
// or all users may write to it, and so may replace its files. With `others_files` it may belong to
// root, or have the sticky bit, which protects the files, as in /tmp.
absl::Status CheckOwner(const std::string& path, bool others_files = false);

// Takes the flock of a file, which is held until the descriptor is closed or the process ends in
// any way. The file is empty and is never removed: only the lock counts. If the file is missing and
// the disk is full or read-only, locks its directory instead. ALREADY_EXISTS: another process holds
// it; the message names the file.
absl::StatusOr<UniqueFd> LockFile(const std::string& path);

// Returns the node's permanent id, a UUID that does not depend on the node's name: systemd's
// application-specific id, which does not reveal the machine id (`systemd-id128 machine-id
// --app-specific=…`); or StoredNodeId() without a machine id, as in many containers. An error names
// the file.
absl::StatusOr<std::string> NodeId(const std::string& state_dir);
// Returns the id in `state_dir`/node_id, which is created if there is none.
absl::StatusOr<std::string> StoredNodeId(const std::string& state_dir);

// Permanently drops every capability that vmeventd does not use, for itself and for programs it
// starts. It retains, if present, CAP_DAC_OVERRIDE (other users' monitors and directories),
// CAP_NET_ADMIN (the process connector), CAP_SYS_PTRACE (the exit status of zombies), CAP_CHOWN
// (the group of a socket), CAP_NET_BIND_SERVICE (a port below 1024), and CAP_BPF and CAP_PERFMON.
// Call it before other threads start. False: the kernel refused.
bool DropCapabilities();

// Drops CAP_BPF and CAP_PERFMON, once the kernel records signals. False: the kernel refused.
bool DropTracing();

// Returns what this process cannot do because it lacks privileges, one sentence each.
// `exit_status_source` is the watcher's.
std::vector<std::string> MissingRights(const std::string& exit_status_source);

// Raises this process's soft limit of open descriptors to the hard limit, if allowed. Returns the
// limit then in force.
uint64_t RaiseDescriptorLimit();

// Notifies systemd of this state, lines NAME=VALUE, if it started this process (sd_notify(3)). Any
// thread.
void Notify(const std::string& state);
// Returns systemd's watchdog interval; infinite: there is no watchdog.
absl::Duration WatchdogInterval();

// Returns the descriptor that the service manager has stored as `name` and passed to this process
// at its start; invalid: there is none. Closes the others. Call it once.
UniqueFd TakeStoredDescriptor(const std::string& name);
bool HasServiceManager();
// Gives the service manager a copy of `fd` to store as `name`, even if nothing holds its other end,
// and to pass to the next process of this service. The manager drops it if the unit lacks
// FileDescriptorStoreMax=, or if the service is stopped and not started again. Waits up to
// `timeout` until the manager has it. The error is the reason why it cannot be stored.
absl::Status StoreDescriptor(const std::string& name, int fd, absl::Duration timeout);

// Finds out whether a thread, which is woken once a second, still does its turns.
class Pulse {
 public:
  // A thread that has answered none of this many last questions is silent. Counts questions instead
  // of time, because time also passes while the whole process is stopped.
  static constexpr int kQuestions = 5;

  // Asks the thread once more. Returns whether it is silent. One thread.
  bool Ask();
  // Records that the thread has done a turn. Any thread.
  void Answer() { answered_ = asked_.load(); }

 private:
  std::atomic<uint64_t> asked_ = 0;
  std::atomic<uint64_t> answered_ = 0;
  int unanswered_ = 0;
};

// Decides when to notify the service manager that the daemon is alive: as long as every watched
// thread still does its turns. Asks the threads thirty times within the manager's limit, so that a
// hang shorter than 29/30 of it is survived.
class Watchdog {
 public:
  enum Thread { kWatcher, kPump, kAcceptor };
  static constexpr size_t kThreads = 3;

  // `limit`: time without a notification after which the manager kills the daemon.
  explicit Watchdog(absl::Duration limit) : limit_(limit) {}

  absl::Duration turn() const { return limit_ / 30; }
  // Returns whether all threads have answered the last question; the caller then notifies the
  // manager and asks the threads again. A state directory whose disk hangs stops none of them. Logs
  // the threads that have been silent for a third of the limit. One thread.
  bool Turn(absl::Duration now);
  // Records that `thread` has done a turn. Any thread.
  void Answer(Thread thread) { answered_[thread] = asked_.load(); }

 private:
  const absl::Duration limit_;
  std::atomic<uint64_t> asked_ = 0;
  std::array<std::atomic<uint64_t>, kThreads> answered_ = {};  // question answered last, by thread
  absl::Duration asked_at_ = absl::InfiniteDuration();
  bool logged_ = false;
};

}  // namespace vmeventd
