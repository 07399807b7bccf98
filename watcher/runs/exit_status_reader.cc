#include "watcher/runs/exit_status_reader.h"

#include <arpa/inet.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
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
  return {0, WTERMSIG(wait_status), WCOREDUMP(wait_status) != 0};
}

// Reads the wait status from a pidfd (PIDFD_INFO_EXIT). Unset: the process was not reaped yet, or
// the kernel does not report it.
std::optional<int> WaitStatusFromPidfd(int pidfd) {
  PidfdInfo info{};
  info.mask = kPidfdInfoExit;
  if (ioctl(pidfd, kPidfdGetInfo, &info) != 0 || (info.mask & kPidfdInfoExit) == 0) {
    return std::nullopt;
  }
  return info.exit_code;
}

// Tests whether the kernel reports exit statuses by pidfd. Kernels since 6.13 accept the request,
// but only those since 6.15 answer it, after the process was reaped. So this makes a process that
// exits at once. It sends no SIGCHLD, so that only this function waits for it. It bypasses the
// libraries: sanitizers would treat it as a fork or a thread.
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

// Returns whether the process of `pidfd` is not reaped, so that its pid still belongs to it.
bool StillThere(int pidfd) {
  if (syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) == 0) return true;
  return errno == EPERM || errno == EACCES;  // refused by the process's user; by a security module
}

// Returns whether this process has ptrace access to `pid`, which field 52 of its stat file
// requires.
bool MayRead(int64_t pid) {
  std::array<char, 64> target;
  return readlink(absl::StrCat("/proc/", pid, "/ns/user").c_str(), target.data(), target.size()) >
         0;
}

// Reads the wait status of a zombie. 0 is ambiguous: the process exited with 0, or this process has
// no right to read the status.
std::optional<int> WaitStatusFromStat(int pidfd, int64_t pid, uint64_t start_ticks) {
  const std::optional<ProcessStat> stat = ReadProcessStat(pid);
  if (!stat.has_value()) return std::nullopt;
  const std::optional<int> wait_status = stat->exit_code;
  if (!wait_status.has_value() || (*wait_status == 0 && !MayRead(pid))) return std::nullopt;
  // If the process still has its pid, all that was read is about it.
  if (!StillThere(pidfd)) return std::nullopt;
  if (start_ticks != 0 && stat->start_ticks != start_ticks) return std::nullopt;
  return wait_status;
}

// The process connector.

// An enumeration within proc_event, since Linux 6.6 outside of it.
using ProcEventKind = decltype(proc_event::what);
constexpr ProcEventKind kAnswer = ProcEventKind::PROC_EVENT_NONE;
constexpr ProcEventKind kExit = ProcEventKind::PROC_EVENT_EXIT;

constexpr size_t kEventOffset = NLMSG_HDRLEN + sizeof(cn_msg);
constexpr size_t kPidOffset = kEventOffset + offsetof(proc_event, event_data.exit.process_pid);
constexpr size_t kTgidOffset = kEventOffset + offsetof(proc_event, event_data.exit.process_tgid);

// Size of the receive buffer: room for the ends of some ten thousand processes at once. Its memory
// is used only while messages wait.
constexpr int kReceiveBytes = 8 << 20;
// Maximum number of messages in one turn; then the loop handles other inputs.
constexpr size_t kMessagesATurn = 1000;
constexpr int kAnswerMilliseconds = 100;

absl::Status Error(const char* call) { return absl::ErrnoToStatus(errno, call); }

absl::Status SendSubscription(int socket) {
  // cn_msg ends in a flexible array and so can be no part of a structure.
  constexpr proc_cn_mcast_op kListen = PROC_CN_MCAST_LISTEN;
  std::array<char, kEventOffset + sizeof(kListen)> request{};
  nlmsghdr header{};
  header.nlmsg_len = request.size();
  header.nlmsg_type = NLMSG_DONE;
  cn_msg message{};
  message.id = {CN_IDX_PROC, CN_VAL_PROC};
  message.len = sizeof(kListen);
  std::memcpy(request.data(), &header, sizeof(header));
  std::memcpy(request.data() + NLMSG_HDRLEN, &message, sizeof(message));
  std::memcpy(request.data() + kEventOffset, &kListen, sizeof(kListen));
  if (send(socket, request.data(), request.size(), 0) != static_cast<ssize_t>(request.size())) {
    return Error("send");
  }
  return absl::OkStatus();
}

// The event in a message of the kernel; unset: there is none.
std::optional<proc_event> EventOf(absl::string_view message) {
  if (message.size() < kEventOffset) return std::nullopt;
  cn_msg head;
  std::memcpy(&head, message.data() + NLMSG_HDRLEN, sizeof(head));
  if (head.id.idx != CN_IDX_PROC || head.id.val != CN_VAL_PROC) return std::nullopt;
  proc_event event{};
  std::memcpy(&event, message.data() + kEventOffset,
              std::min(sizeof(event), message.size() - kEventOffset));
  return event;
}

// Receives one datagram of the kernel; empty: another process sent it. Unset: failed, see errno.
std::optional<std::string> Receive(int socket) {
  std::array<char, 1024> buffer;
  sockaddr_nl sender{};
  socklen_t size = sizeof(sender);
  const ssize_t got = recvfrom(socket, buffer.data(), buffer.size(), MSG_DONTWAIT,
                               reinterpret_cast<sockaddr*>(&sender), &size);
  if (got < 0) return std::nullopt;
  return sender.nl_pid == 0 ? std::string(buffer.data(), static_cast<size_t>(got)) : "";
}

// Waits for the kernel's answer to a subscription. It comes with the subscription itself or, in a
// foreign namespace, never.
absl::Status AwaitAnswer(int socket) {
  pollfd readable{socket, POLLIN, 0};
  while (poll(&readable, 1, kAnswerMilliseconds) == 1) {
    const std::optional<std::string> message = Receive(socket);
    if (!message.has_value()) return Error("recvfrom");
    const std::optional<proc_event> event = EventOf(*message);
    if (!event.has_value() || event->what != kAnswer) continue;
    if (event->event_data.ack.err == 0) return absl::OkStatus();
    errno = static_cast<int>(event->event_data.ack.err);
    return Error("the kernel's answer");
  }
  return absl::UnavailableError("the kernel does not answer");
}

// Lets only ends of processes wake the loop: no forks, no ends of threads.
absl::Status FilterExits(int socket) {
  // Loaded words are in network order.
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kEventOffset + offsetof(proc_event, what)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(kExit), 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kPidOffset),
      BPF_STMT(BPF_MISC | BPF_TAX, 0),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kTgidOffset),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog program{sizeof(code) / sizeof(code[0]), code};
  if (setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0) {
    return Error("SO_ATTACH_FILTER");
  }
  return absl::OkStatus();
}

// A socket that has subscribed. An error if the kernel does not answer at once: it has no
// connector, CAP_NET_ADMIN is missing, or this is not the host's network or PID namespace.
absl::StatusOr<UniqueFd> Subscribe() {
  UniqueFd socket(
      ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_CONNECTOR));
  if (!socket.valid()) return Error("socket(NETLINK_CONNECTOR)");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = CN_IDX_PROC;
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return Error("bind(CN_IDX_PROC)");
  }
  // A smaller buffer is enough, except in a storm of ends.
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBytes, sizeof(kReceiveBytes));
  absl::Status status = SendSubscription(socket.get());
  if (status.ok()) status = AwaitAnswer(socket.get());
  if (status.ok()) status = FilterExits(socket.get());
  if (!status.ok()) return status;
  return socket;
}

}  // namespace

std::unique_ptr<ExitStatusReader> ExitStatusReader::Create(EventLoop* loop,
                                                           std::optional<ExitStatusSource> only,
                                                           HandedExits handed) {
  const auto wanted = [only](ExitStatusSource source) { return only.value_or(source) == source; };
  std::unique_ptr<ExitStatusReader> reader(new ExitStatusReader(loop));
  if (wanted(ExitStatusSource::kPidfd) && PidfdTellsExits()) {
    reader->source_ = ExitStatusSource::kPidfd;
  } else if (wanted(ExitStatusSource::kProcConnector)) {
    if (const absl::Status status = reader->Connect(std::move(handed)); status.ok()) {
      reader->source_ = ExitStatusSource::kProcConnector;
    } else {
      spdlog::debug("cannot use the kernel's process connector: {}", std::string(status.message()));
    }
  }
  spdlog::info("source of exit statuses: {}", std::string(ExitStatusSourceName(reader->source_)));
  return reader;
}

absl::Status ExitStatusReader::Connect(HandedExits handed) {
  if (!handed.socket.valid()) {
    absl::StatusOr<UniqueFd> subscribed = Subscribe();
    if (!subscribed.ok()) return subscribed.status();
    handed.socket = *std::move(subscribed);
  }
  int protocol = -1;
  socklen_t size = sizeof(protocol);
  if (getsockopt(handed.socket.get(), SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0 ||
      protocol != NETLINK_CONNECTOR) {
    return absl::InvalidArgumentError("not a socket of the process connector");
  }
  if (absl::Status status = loop_->Add(handed.socket.get(), EPOLLIN, this); !status.ok()) {
    return status;
  }
  connector_ = std::move(handed.socket);
  for (const auto& [pid, wait_status] : handed.wait_statuses) {
    followed_[pid] = {.handed = true, .wait_status = wait_status};
  }
  return absl::OkStatus();
}

ExitStatusReader::~ExitStatusReader() {
  if (connector_.valid()) loop_->Remove(connector_.get());
}

ExitStatusReader::Answer ExitStatusReader::Ask(int pidfd, int64_t pid, uint64_t start_ticks) {
  const bool by_pidfd = source_ == ExitStatusSource::kPidfd;
  std::optional<int> wait_status = by_pidfd ? WaitStatusFromPidfd(pidfd) : WaitStatusOf(pid);
  if (!wait_status.has_value()) wait_status = WaitStatusFromStat(pidfd, pid, start_ticks);
  // It may have been reaped between the two reads.
  if (!wait_status.has_value() && by_pidfd) wait_status = WaitStatusFromPidfd(pidfd);
  if (wait_status.has_value()) return {Decoded(*wait_status)};
  return {.final = source_ == ExitStatusSource::kNone, .unreaped = by_pidfd};
}

void ExitStatusReader::Follow(int64_t pid) {
  if (!connector_.valid()) return;
  Followed& followed = followed_[pid];
  if (++followed.users > 1 || followed.handed) return;
  // A waiting message may be of a process that had the number before.
  Read(SIZE_MAX);
  followed_[pid].wait_status.reset();
}

void ExitStatusReader::Unfollow(int64_t pid) {
  const auto it = followed_.find(pid);
  if (it != followed_.end() && --it->second.users == 0 && !it->second.handed) followed_.erase(it);
}

void ExitStatusReader::ForgetHanded() {
  for (auto& [pid, followed] : followed_) followed.handed = false;
  absl::erase_if(followed_, [](const auto& entry) { return entry.second.users == 0; });
}

std::optional<int> ExitStatusReader::WaitStatusOf(int64_t pid) {
  Read(SIZE_MAX);
  return WaitStatusRead(pid);
}

std::optional<int> ExitStatusReader::WaitStatusRead(int64_t pid) const {
  const auto it = followed_.find(pid);
  return it == followed_.end() ? std::nullopt : it->second.wait_status;
}

void ExitStatusReader::OnFdReady(uint32_t) { Read(kMessagesATurn); }

void ExitStatusReader::Read(size_t max_messages) {
  if (!connector_.valid()) return;
  for (size_t count = 0; count < max_messages; ++count) {
    const std::optional<std::string> message = Receive(connector_.get());
    if (message.has_value()) {
      OnMessage(*message);
    } else if (errno == ENOBUFS) {
      overflows_.Add();
    } else if (errno != EINTR) {
      return;
    }
  }
}

void ExitStatusReader::OnMessage(absl::string_view message) {
  const std::optional<proc_event> event = EventOf(message);
  if (!event.has_value() || event->what != kExit) return;
  const auto& exit = event->event_data.exit;
  if (exit.process_pid != exit.process_tgid) return;  // a thread
  const auto it = followed_.find(exit.process_tgid);
  if (it == followed_.end() || it->second.wait_status.has_value()) return;  // its number, reused
  it->second.wait_status = static_cast<int>(exit.exit_code);
}

}  // namespace vmeventd
