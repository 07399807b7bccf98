// The kernel's waiting: epoll, inotify, sockets, pidfds.

#include <sys/inotify.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "tests/simulation/kernel.h"
#include "tests/support/inotify_record.h"

namespace vmeventd::simulation {
namespace {

constexpr uint32_t kReadable = EPOLLIN;

}  // namespace

int Kernel::EventFd() {
  return HasRoom("eventfd", "") ? Add({.kind = Descriptor::Kind::kEvent}) : -1;
}

int Kernel::EventFdWrite(int fd) {
  Descriptor* const descriptor = Get(fd, Descriptor::Kind::kEvent);
  if (descriptor == nullptr) return -1;
  ++descriptor->counter;
  return 0;
}

int Kernel::EventFdRead(int fd) {
  Descriptor* const descriptor = Get(fd, Descriptor::Kind::kEvent);
  if (descriptor == nullptr) return -1;
  descriptor->counter = 0;
  return 0;
}

int Kernel::EpollCreate() {
  return HasRoom("epoll_create1", "") ? Add({.kind = Descriptor::Kind::kEpoll}) : -1;
}

int Kernel::EpollControl(int epoll, int operation, int fd, epoll_event* event) {
  Descriptor* const descriptor = Get(epoll, Descriptor::Kind::kEpoll);
  if (descriptor == nullptr || !Enter("epoll_ctl", "")) return -1;
  if (operation == EPOLL_CTL_DEL) {
    return descriptor->watched.erase(fd) != 0 ? 0 : Fail(ENOENT);
  }
  if (Find(fd) == nullptr) return Fail(EBADF);
  descriptor->watched[fd] = *event;
  return 0;
}

uint32_t Kernel::Readiness(int fd) const {
  const Descriptor* const found = Find(fd);
  if (found == nullptr) return 0;
  const Descriptor& descriptor = *found;
  switch (descriptor.kind) {
    case Descriptor::Kind::kEvent:
      return descriptor.counter > 0 ? kReadable : 0;
    case Descriptor::Kind::kInotify:
      return descriptor.events.empty() ? 0 : kReadable;
    case Descriptor::Kind::kPidfd:
      return descriptor.process->state != Process::State::kLives ? kReadable : 0;
    case Descriptor::Kind::kSocket: {
      if (descriptor.connection == nullptr) return 0;
      const Connection& connection = *descriptor.connection;
      uint32_t ready = connection.to_client.empty() ? 0 : kReadable;
      if (connection.server_closed) ready |= EPOLLIN | EPOLLRDHUP | EPOLLHUP;
      return ready;
    }
    default:
      return 0;
  }
}

bool Kernel::LoopHasInput() const {
  for (const DescriptorPtr& descriptor : descriptors_) {
    if (descriptor == nullptr || descriptor->kind != Descriptor::Kind::kEpoll) continue;
    for (const auto& [watched, event] : descriptor->watched) {
      if ((Readiness(watched) & (event.events | EPOLLHUP | EPOLLERR)) != 0) return true;
    }
  }
  return false;
}

int Kernel::EpollWait(int epoll, epoll_event* events, int max, int timeout_ms) {
  Descriptor* const descriptor = Get(epoll, Descriptor::Kind::kEpoll);
  if (descriptor == nullptr || !Enter("epoll_wait", "")) return -1;
  loop_due_ =
      timeout_ms < 0 ? absl::InfiniteDuration() : monotonic_ + absl::Milliseconds(timeout_ms);
  std::vector<epoll_event> ready;
  for (const auto& [fd, event] : descriptor->watched) {
    const uint32_t is = Readiness(fd) & (event.events | EPOLLHUP | EPOLLERR);
    if (is == 0) continue;
    ready.push_back(event);
    ready.back().events = is;
  }
  if (ready.empty()) return 0;
  loop_due_ = monotonic_;  // its next steps may add timers
  // Reports the events in any order, and perhaps not all: the rest came a moment later.
  random_->Shuffle(&ready);
  size_t count = std::min(ready.size(), static_cast<size_t>(max));
  if (random_->OneIn(4)) count = 1 + random_->Below(count);
  std::copy_n(ready.begin(), count, events);
  return static_cast<int>(count);
}

// inotify

int Kernel::InotifyInit() {
  return HasRoom("inotify_init1", "") ? Add({.kind = Descriptor::Kind::kInotify}) : -1;
}

int Kernel::InotifyAdd(int fd, const std::string& path) {
  Descriptor* const descriptor = Get(fd, Descriptor::Kind::kInotify);
  if (descriptor == nullptr || !Enter("inotify_add_watch", path)) return -1;
  if (disk_.Find(path) == nullptr && !SystemFile(path).has_value()) return Fail(ENOENT);
  for (const auto& [watch, watched] : descriptor->watches) {
    if (watched == path) return watch;
  }
  descriptor->watches[++descriptor->last_watch] = path;
  return descriptor->last_watch;
}

int Kernel::InotifyRemove(int fd, int watch) {
  Descriptor* const descriptor = Get(fd, Descriptor::Kind::kInotify);
  if (descriptor == nullptr) return -1;
  return descriptor->watches.erase(watch) != 0 ? 0 : Fail(EINVAL);
}

void Kernel::Notify(const std::string& path, uint32_t mask) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == 0 ? "/" : path.substr(0, slash);
  for (const DescriptorPtr& descriptor : descriptors_) {
    if (descriptor == nullptr || descriptor->kind != Descriptor::Kind::kInotify) continue;
    if (descriptor->queue_full) continue;
    for (const auto& [watch, watched] : descriptor->watches) {
      if (watched == path) {
        descriptor->events.push_back(EncodeInotifyEvent({watch, mask, ""}));
      } else if (watched == directory) {
        descriptor->events.push_back(EncodeInotifyEvent({watch, mask, path.substr(slash + 1)}));
      }
    }
  }
}

void Kernel::FillInotifyQueue(const std::string& directory) {
  for (const DescriptorPtr& descriptor : descriptors_) {
    if (descriptor == nullptr || descriptor->kind != Descriptor::Kind::kInotify) continue;
    const auto watches = [&](const auto& watch) { return watch.second == directory; };
    if (descriptor->queue_full ||
        std::none_of(descriptor->watches.begin(), descriptor->watches.end(), watches)) {
      continue;
    }
    descriptor->events.push_back(EncodeInotifyEvent({-1, IN_Q_OVERFLOW, ""}));
    descriptor->queue_full = true;
  }
}

// Sockets

int Kernel::Socket(int family) {
  if (family != AF_UNIX) return Fail(EPROTONOSUPPORT);
  if (!Enter("socket", "") || !HasRoom("socket", "")) return -1;
  return Add({.kind = Descriptor::Kind::kSocket});
}

int Kernel::Connect(int fd, const std::string& path) {
  Descriptor* const socket = Get(fd, Descriptor::Kind::kSocket);
  absl::string_view number = path;
  int file = -1;
  if (socket == nullptr || !absl::ConsumePrefix(&number, "/proc/self/fd/") ||
      !absl::SimpleAtoi(number, &file)) {
    return Fail(ENOENT);
  }
  const Descriptor* const to = Get(file, Descriptor::Kind::kPath);
  if (to == nullptr || !Enter("connect", to->path)) return -1;
  const auto it = listeners_.find(to->file->inode);
  if (it == listeners_.end() || !it->second->listening) return Fail(ECONNREFUSED);
  if (it->second->waiting.size() > it->second->backlog) return Fail(EAGAIN);
  socket->connection = std::make_shared<Connection>();
  socket->connection->of_daemon = true;
  socket->connection->last_inode = disk_.last_inode();
  socket->listener = it->second;
  socket->path = to->path;
  it->second->waiting.push_back(socket->connection);
  return 0;
}

ssize_t Kernel::Receive(int fd, void* to, size_t size, int flags, int64_t* sender) {
  Descriptor* const descriptor = Get(fd, Descriptor::Kind::kSocket);
  if (descriptor == nullptr) return -1;
  const bool lives = !dead_;
  if (!Enter("recv", descriptor->path)) {
    // A daemon that is killed in the call may have got what is there, as its last act.
    if (!lives || !dead_ || (flags & MSG_PEEK) != 0 || random_->OneIn(2)) return -1;
    Take(descriptor->connection.get(), to, size);
    return -1;
  }
  Connection& connection = *descriptor->connection;
  if (rest_is_late_ && connection.in_line) return Fail(EAGAIN);
  if (connection.to_client.empty()) {
    if (!connection.server_closed) return Fail(EAGAIN);
    return connection.reset ? Fail(ECONNRESET) : 0;
  }
  const Connection::Chunk& chunk = connection.to_client.front();
  if (descriptor->pass_credentials) *sender = chunk.sender;
  if ((flags & MSG_PEEK) == 0) return static_cast<ssize_t>(Take(&connection, to, size));
  return static_cast<ssize_t>(chunk.bytes.copy(static_cast<char*>(to), size));
}

size_t Kernel::Take(Connection* connection, void* to, size_t size) {
  if (connection->to_client.empty()) return 0;
  Connection::Chunk& chunk = connection->to_client.front();
  const size_t there = chunk.bytes.copy(static_cast<char*>(to), size);
  connection->handed_out += there;
  if (there > 0) connection->in_line = static_cast<const char*>(to)[there - 1] != '\n';
  chunk.bytes.erase(0, there);
  if (chunk.bytes.empty()) connection->to_client.pop_front();
  return there;
}

ssize_t Kernel::SendTo(int fd, absl::string_view bytes) {
  Descriptor* const descriptor = Get(fd, Descriptor::Kind::kSocket);
  if (descriptor == nullptr || !Enter("send", descriptor->path)) return -1;
  if (descriptor->connection->server_closed) return Fail(EPIPE);
  descriptor->connection->to_server.append(bytes.data(), bytes.size());
  descriptor->connection->read_before_sending = descriptor->connection->handed_out;
  return static_cast<ssize_t>(bytes.size());
}

int Kernel::PeerCredentials(int fd, int64_t* pid) {
  const Descriptor* const descriptor = Get(fd, Descriptor::Kind::kSocket);
  if (descriptor == nullptr || !Enter("getsockopt", descriptor->path)) return -1;
  *pid = descriptor->listener->process->pid;
  return 0;
}

int Kernel::PeerPidfd(int fd) {
  const Descriptor* const descriptor = Get(fd, Descriptor::Kind::kSocket);
  if (descriptor == nullptr) return -1;
  if (!features_.peer_pidfd) return Fail(ENOPROTOOPT);
  if (!Enter("SO_PEERPIDFD", descriptor->path) || !HasRoom("SO_PEERPIDFD", descriptor->path)) {
    return -1;
  }
  const ProcessPtr process = descriptor->listener->process;
  if (process->state == Process::State::kReaped) return Fail(EINVAL);
  return Add({.kind = Descriptor::Kind::kPidfd, .process = process});
}

int Kernel::PassCredentials(int fd) {
  Descriptor* const descriptor = Get(fd, Descriptor::Kind::kSocket);
  if (descriptor == nullptr) return -1;
  descriptor->pass_credentials = true;
  return 0;
}

int Kernel::BytesWaiting(int fd) {
  const Descriptor* const descriptor = Get(fd, Descriptor::Kind::kSocket);
  if (descriptor == nullptr) return -1;
  size_t bytes = 0;
  for (const Connection::Chunk& chunk : descriptor->connection->to_client) {
    bytes += chunk.bytes.size();
  }
  return static_cast<int>(bytes);
}

// Processes

int Kernel::PidfdOpen(int64_t pid) {
  if (!Enter("pidfd_open", "") || !HasRoom("pidfd_open", "")) return -1;
  const ProcessPtr process = Living(pid);
  if (process == nullptr) return Fail(ESRCH);
  return Add({.kind = Descriptor::Kind::kPidfd, .process = process});
}

int Kernel::PidfdSignal(int fd) {
  const Descriptor* const descriptor = Get(fd, Descriptor::Kind::kPidfd);
  if (descriptor == nullptr) return -1;
  return descriptor->process->state == Process::State::kReaped ? Fail(ESRCH) : 0;
}

int Kernel::PidfdExit(int fd, std::optional<int>* wait_status) {
  const Descriptor* const descriptor = Get(fd, Descriptor::Kind::kPidfd);
  if (descriptor == nullptr || !Enter("PIDFD_GET_INFO", "")) return -1;
  if (!features_.pidfd_exit) return Fail(ENOTTY);
  if (descriptor->process->state == Process::State::kReaped) {
    *wait_status = descriptor->process->wait_status;
  }
  return 0;
}

int64_t Kernel::CloneProbe(int* pidfd) {
  const ProcessPtr process = Start("/");
  Exit(process, 3 << 8);
  *pidfd = PidfdOpen(process->pid);
  if (*pidfd >= 0) return process->pid;
  Reap(process);
  return -1;
}

int64_t Kernel::WaitFor(int64_t pid) {
  const ProcessPtr process = Living(pid);
  if (process == nullptr) return Fail(ECHILD);
  Reap(process);
  return pid;
}

bool Kernel::IsReadable(int fd) const { return (Readiness(fd) & EPOLLIN) != 0; }

uint64_t Kernel::PidfdInode(int fd) const {
  const Descriptor* const descriptor = Get(fd, Descriptor::Kind::kPidfd);
  return descriptor == nullptr || !features_.pidfs ? 0 : descriptor->process->inode;
}

}  // namespace vmeventd::simulation
