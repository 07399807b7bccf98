#include "watcher/runs/exit_status_reader.h"

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/system.h"
#include "spdlog/spdlog.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

// Copy of <linux/pidfd.h> as it is in Linux 6.15; Debian 12's has none of it.
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroupid;
  uint32_t pid;
  uint32_t tgid;
  uint32_t ppid;
  uint32_t ruid;
  uint32_t rgid;
  uint32_t euid;
  uint32_t egid;
  uint32_t suid;
  uint32_t sgid;
  uint32_t fsuid;
  uint32_t fsgid;
  int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64, "PIDFD_INFO_SIZE_VER0");
constexpr unsigned long kPidfdGetInfo = _IOWR(0xFF, 11, PidfdInfo);
constexpr uint64_t kPidfdInfoExit = 1 << 3;

ExitStatus Decoded(int wait_status) {
  if (WIFEXITED(wait_status)) return {WEXITSTATUS(wait_status), 0};
  return {0, WTERMSIG(wait_status)};
}

// Unset: it has not been reaped, or the kernel does not say.
std::optional<int> WaitStatusFromPidfd(int pidfd) {
  PidfdInfo info{};
  info.mask = kPidfdInfoExit;
  if (ioctl(pidfd, kPidfdGetInfo, &info) != 0 || (info.mask & kPidfdInfoExit) == 0) {
    return std::nullopt;
  }
  return info.exit_code;
}

// Kernels since 6.13 take the question, and those since 6.15 answer it, once the process was
// reaped: so one is made that has nothing to do. It sends nobody a SIGCHLD at its end, so that only
// this waits for it. No library may see it: sanitizers would take it for a fork, or for a thread.
bool PidfdTellsExits() {
  constexpr int kExitCode = 3;
  int number = -1;
  const auto child =
      static_cast<pid_t>(syscall(SYS_clone, CLONE_PIDFD, nullptr, &number, nullptr, nullptr));
  if (child == 0) syscall(SYS_exit_group, kExitCode);
  if (child < 0) return false;
  const UniqueFd pidfd(number);
  while (waitpid(child, nullptr, __WCLONE) < 0 && errno == EINTR) {
  }
  const std::optional<int> wait_status = WaitStatusFromPidfd(pidfd.get());
  return wait_status.has_value() && WEXITSTATUS(*wait_status) == kExitCode;
}

// Returns whether the number is still that of the process that `pidfd` stands for: not reaped.
bool StillThere(int pidfd) {
  if (syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) == 0) return true;
  return errno == EPERM || errno == EACCES;  // refused by the process's user; by a security module
}

// Returns whether the kernel shows this process what stands behind ptrace access, field 52 among
// it.
bool MayRead(int64_t pid) {
  std::array<char, 64> target;
  return readlink(absl::StrCat("/proc/", pid, "/ns/user").c_str(), target.data(), target.size()) >
         0;
}

// Reads the status of a zombie. 0 is both the status of a process that ended well and what a reader
// without the right sees.
std::optional<int> WaitStatusFromStat(int pidfd, int64_t pid, uint64_t start_ticks) {
  const absl::StatusOr<std::string> stat = ReadSmallFile(absl::StrCat("/proc/", pid, "/stat"));
  if (!stat.ok()) return std::nullopt;
  const std::optional<int> wait_status = ParseStatExitCode(*stat);
  if (!wait_status.has_value() || (*wait_status == 0 && !MayRead(pid))) return std::nullopt;
  // All of that was of this process if it has its number still.
  if (!StillThere(pidfd)) return std::nullopt;
  const std::optional<uint64_t> started = ParseStatStartTicks(*stat);
  if (start_ticks != 0 && started != start_ticks) return std::nullopt;
  return wait_status;
}

}  // namespace

std::unique_ptr<ExitStatusReader> ExitStatusReader::Create(EventLoop* loop,
                                                           std::optional<ExitStatusSource> only,
                                                           HandedExits handed) {
  const auto wanted = [only](ExitStatusSource source) { return only.value_or(source) == source; };
  const auto make = [](ExitStatusSource source, std::unique_ptr<ProcConnector> connector) {
    spdlog::info("exit statuses of processes come from: {}", ExitStatusSourceName(source));
    return std::unique_ptr<ExitStatusReader>(new ExitStatusReader(source, std::move(connector)));
  };
  if (wanted(ExitStatusSource::kPidfd) && PidfdTellsExits()) {
    return make(ExitStatusSource::kPidfd, nullptr);
  }
  if (wanted(ExitStatusSource::kProcConnector)) {
    absl::StatusOr<std::unique_ptr<ProcConnector>> connector =
        handed.socket.valid() ? ProcConnector::Resume(loop, std::move(handed))
                              : ProcConnector::Create(loop);
    if (connector.ok()) return make(ExitStatusSource::kProcConnector, *std::move(connector));
    spdlog::debug("no process connector: {}", std::string(connector.status().message()));
  }
  return make(ExitStatusSource::kNone, nullptr);
}

ExitStatusReader::Answer ExitStatusReader::Ask(int pidfd, int64_t pid, uint64_t start_ticks) {
  std::optional<int> wait_status;
  if (source_ == ExitStatusSource::kPidfd) wait_status = WaitStatusFromPidfd(pidfd);
  if (connector_ != nullptr) wait_status = connector_->WaitStatusOf(pid);
  if (!wait_status.has_value()) wait_status = WaitStatusFromStat(pidfd, pid, start_ticks);
  // Reaped between the two.
  if (!wait_status.has_value() && source_ == ExitStatusSource::kPidfd) {
    wait_status = WaitStatusFromPidfd(pidfd);
  }
  if (wait_status.has_value()) return {Decoded(*wait_status), true};
  return {std::nullopt, source_ == ExitStatusSource::kNone};
}

std::string ExitStatusSourceName(ExitStatusSource source) {
  switch (source) {
    case ExitStatusSource::kPidfd:
      return "pidfd";
    case ExitStatusSource::kProcConnector:
      return "proc-connector";
    case ExitStatusSource::kNone:
      return "none";
  }
  return "";
}

}  // namespace vmeventd
