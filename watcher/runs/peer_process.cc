#include "watcher/runs/peer_process.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "watcher/core/proc_texts.h"
#include "watcher/signals/process_stat.h"

namespace vmeventd {
namespace {

constexpr int kSoPeerPidfd = 77;  // SO_PEERPIDFD of Linux 6.5; Debian 12's headers lack it
constexpr unsigned long kPidFsMagic = 0x50494446;  // PID_FS_MAGIC of Linux 6.9

bool OutOfDescriptors(int error) { return error == EMFILE || error == ENFILE; }

// Reads the start time of a process in ticks. 0: the file cannot be read (the process has ended, or
// /proc hides it). RESOURCE_EXHAUSTED: there is no free descriptor; a later attempt may succeed.
absl::StatusOr<uint64_t> ReadStartTicks(int64_t pid) {
  if (pid == 0) return 0;
  const absl::StatusOr<std::string> stat = ReadSmallFile(absl::StrCat("/proc/", pid, "/stat"));
  if (!stat.ok()) {
    if (absl::IsResourceExhausted(stat.status())) return stat.status();
    return 0;
  }
  return ParseProcessStat(*stat).value_or(ProcessStat()).start_ticks;
}

// Reads the facts of the process that `pidfd` holds. Facts that are read by its pid are certainly
// of this process if it has not ended afterwards.
absl::StatusOr<PeerProcess> WithPidfd(int64_t pid, UniqueFd pidfd) {
  const absl::StatusOr<uint64_t> start_ticks = ReadStartTicks(pid);
  if (!start_ticks.ok()) return start_ticks.status();
  const auto kind = HasEnded(pidfd.get()) ? PeerProcess::Kind::kGone : PeerProcess::Kind::kTracked;
  return PeerProcess{kind, pid, *start_ticks, std::move(pidfd)};
}

// The pidfd's inode, which identifies its process. Unset: before Linux 6.9, or not a pidfd.
std::optional<uint64_t> PidfsInode(int pidfd) {
  struct statfs file_system {};
  struct stat status {};
  if (fstatfs(pidfd, &file_system) != 0 || fstat(pidfd, &status) != 0 ||
      static_cast<unsigned long>(file_system.f_type) != kPidFsMagic) {
    return std::nullopt;
  }
  return status.st_ino;
}

PeerProcess Gone(int64_t pid) { return {PeerProcess::Kind::kGone, pid, 0, UniqueFd()}; }

}  // namespace

absl::StatusOr<PeerProcess> IdentifyPeer(int socket) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return absl::ErrnoToStatus(errno, "SO_PEERCRED");
  }
  // A process of a foreign PID namespace has no number here, and a pidfd all the same.
  int pidfd = -1;
  size = sizeof(pidfd);
  if (getsockopt(socket, SOL_SOCKET, kSoPeerPidfd, &pidfd, &size) == 0) {
    return WithPidfd(credentials.pid, UniqueFd(pidfd));
  }
  if (OutOfDescriptors(errno)) return absl::ResourceExhaustedError("SO_PEERPIDFD");
  // EINVAL and, since Linux 6.9, ESRCH: the process was reaped already.
  if (errno == EINVAL || errno == ESRCH) return Gone(credentials.pid);
  if (credentials.pid <= 0) return PeerProcess{};
  return IdentifyByPid(credentials.pid);
}

absl::StatusOr<PeerProcess> IdentifyByPid(int64_t pid) {
  const absl::StatusOr<uint64_t> before = ReadStartTicks(pid);
  if (!before.ok()) return before.status();
  return IdentifyAgain(pid, *before);  // another process may take the number meanwhile
}

absl::StatusOr<PeerProcess> IdentifyAgain(int64_t pid, uint64_t start_ticks) {
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) {
    if (OutOfDescriptors(errno) || errno == ENOMEM) {
      return absl::ResourceExhaustedError("pidfd_open");
    }
    // EINVAL, ENOENT: the number is that of a thread by now.
    if (errno == ESRCH || errno == EINVAL || errno == ENOENT) return Gone(pid);
    return PeerProcess{};  // a kernel before 5.3, or one that forbids it
  }
  absl::StatusOr<PeerProcess> found = WithPidfd(pid, std::move(pidfd));
  // If a start time cannot be read, the process id alone decides.
  if (found.ok() && found->start_ticks != start_ticks && found->start_ticks != 0 &&
      start_ticks != 0) {
    return Gone(pid);
  }
  return found;
}

std::optional<ProcessKey> KeyOf(const PeerProcess& process) {
  if (const std::optional<uint64_t> inode = PidfsInode(process.pidfd.get())) {
    return ProcessKey{.pidfd_inode = *inode};
  }
  if (process.pid == 0) return std::nullopt;
  return ProcessKey{.pid = process.pid, .start_ticks = process.start_ticks};
}

bool IsPidfdOf(int pidfd, const ProcessKey& process) {
  if (const std::optional<uint64_t> inode = PidfsInode(pidfd)) return *inode == process.pidfd_inode;
  const absl::StatusOr<std::string> info = ReadSmallFile(absl::StrCat("/proc/self/fdinfo/", pidfd));
  if (!info.ok()) return false;
  int64_t pid = 0;
  if (!absl::SimpleAtoi(ValueInLine(*info, "Pid:"), &pid)) return false;
  if (pid == -1) return true;  // it was reaped: nothing more can be found out
  return pid == process.pid && ReadStartTicks(pid).value_or(0) == process.start_ticks;
}

bool HasEnded(int pidfd) {
  pollfd poll_pidfd{pidfd, POLLIN, 0};
  return poll(&poll_pidfd, 1, 0) == 1;
}

}  // namespace vmeventd
