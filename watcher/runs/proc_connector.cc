#include "watcher/runs/proc_connector.h"

#include <arpa/inet.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "absl/status/status.h"

namespace vmeventd {
namespace {

// An enumeration within proc_event, since Linux 6.6 outside of it.
using ProcEventKind = decltype(proc_event::what);
constexpr ProcEventKind kAnswer = ProcEventKind::PROC_EVENT_NONE;
constexpr ProcEventKind kExit = ProcEventKind::PROC_EVENT_EXIT;

constexpr size_t kEventOffset = NLMSG_HDRLEN + sizeof(cn_msg);
constexpr size_t kPidOffset = kEventOffset + offsetof(proc_event, event_data.exit.process_pid);
constexpr size_t kTgidOffset = kEventOffset + offsetof(proc_event, event_data.exit.process_tgid);

// Room for the ends of some ten thousand processes at once; taken as they come.
constexpr int kReceiveBytes = 8 << 20;
// Limit of one turn; then the loop looks after other things again.
constexpr size_t kMessagesATurn = 1000;
constexpr int kAnswerMilliseconds = 100;

absl::Status Error(const char* call) { return absl::ErrnoToStatus(errno, call); }

absl::Status Subscribe(int socket) {
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

// The event within a message of the kernel's; unset if there is none.
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

// One datagram of the kernel's; empty for one that another process sent. Unset: errno says why.
std::optional<std::string> Receive(int socket) {
  std::array<char, 1024> buffer;
  sockaddr_nl sender{};
  socklen_t size = sizeof(sender);
  const ssize_t got = recvfrom(socket, buffer.data(), buffer.size(), MSG_DONTWAIT,
                               reinterpret_cast<sockaddr*>(&sender), &size);
  if (got < 0) return std::nullopt;
  return sender.nl_pid == 0 ? std::string(buffer.data(), static_cast<size_t>(got)) : "";
}

// The kernel answers a subscription while it takes it, or, in a foreign namespace, never.
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

}  // namespace

absl::StatusOr<std::unique_ptr<ProcConnector>> ProcConnector::Create(EventLoop* loop) {
  UniqueFd socket(
      ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_CONNECTOR));
  if (!socket.valid()) return Error("socket(NETLINK_CONNECTOR)");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = CN_IDX_PROC;
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return Error("bind(CN_IDX_PROC)");
  }
  // A smaller buffer does as well, but for a storm.
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBytes, sizeof(kReceiveBytes));
  if (absl::Status status = Subscribe(socket.get()); !status.ok()) return status;
  if (absl::Status status = AwaitAnswer(socket.get()); !status.ok()) return status;
  if (absl::Status status = FilterExits(socket.get()); !status.ok()) return status;
  return Resume(loop, {.socket = std::move(socket)});
}

absl::StatusOr<std::unique_ptr<ProcConnector>> ProcConnector::Resume(EventLoop* loop,
                                                                     HandedExits handed) {
  int protocol = -1;
  socklen_t size = sizeof(protocol);
  if (getsockopt(handed.socket.get(), SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0 ||
      protocol != NETLINK_CONNECTOR) {
    return absl::InvalidArgumentError("not a socket of the process connector");
  }
  std::unique_ptr<ProcConnector> connector(new ProcConnector(loop, std::move(handed.socket)));
  for (const auto& [pid, wait_status] : handed.wait_statuses) {
    connector->followed_[pid] = {.handed = true, .wait_status = wait_status};
  }
  if (absl::Status status = loop->Add(connector->socket_.get(), EPOLLIN, connector.get());
      !status.ok()) {
    return status;
  }
  return connector;
}

ProcConnector::~ProcConnector() { loop_->Remove(socket_.get()); }

void ProcConnector::Follow(int64_t pid) {
  Followed& followed = followed_[pid];
  if (++followed.users > 1 || followed.handed) return;
  // A waiting message may be of a process that had the number before.
  Read(SIZE_MAX);
  followed_[pid].wait_status.reset();
}

void ProcConnector::Unfollow(int64_t pid) {
  const auto it = followed_.find(pid);
  if (it != followed_.end() && --it->second.users == 0 && !it->second.handed) followed_.erase(it);
}

void ProcConnector::ForgetHanded() {
  for (auto& [pid, followed] : followed_) followed.handed = false;
  absl::erase_if(followed_, [](const auto& entry) { return entry.second.users == 0; });
}

std::optional<int> ProcConnector::WaitStatusOf(int64_t pid) {
  Read(SIZE_MAX);
  return WaitStatusRead(pid);
}

std::optional<int> ProcConnector::WaitStatusRead(int64_t pid) const {
  const auto it = followed_.find(pid);
  return it == followed_.end() ? std::nullopt : it->second.wait_status;
}

void ProcConnector::OnFdReady(uint32_t) { Read(kMessagesATurn); }

void ProcConnector::Read(size_t max_messages) {
  for (size_t count = 0; count < max_messages; ++count) {
    const std::optional<std::string> message = Receive(socket_.get());
    if (message.has_value()) {
      OnMessage(*message);
    } else if (errno == ENOBUFS) {
      overflows_.Add();
    } else if (errno != EINTR) {
      return;
    }
  }
}

void ProcConnector::OnMessage(absl::string_view message) {
  const std::optional<proc_event> event = EventOf(message);
  if (!event.has_value() || event->what != kExit) return;
  const auto& exit = event->event_data.exit;
  if (exit.process_pid != exit.process_tgid) return;  // a thread
  const auto it = followed_.find(exit.process_tgid);
  if (it == followed_.end() || it->second.wait_status.has_value()) return;  // its number, reused
  it->second.wait_status = static_cast<int>(exit.exit_code);
}

}  // namespace vmeventd
