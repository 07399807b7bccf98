#include "server/connection_acceptor.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr int kAcceptsAtOnce = 64;  // of one listener before the next has its turn
constexpr absl::Duration kSweepInterval = absl::Milliseconds(100);
constexpr absl::Duration kLogInterval = absl::Seconds(10);
constexpr absl::Duration kDescriptorWait = absl::Milliseconds(100);

std::string PeerOf(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(&address)->sin_addr, text, sizeof(text));
    return text;
  }
  if (address.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6*>(&address)->sin6_addr, text, sizeof(text));
    return text;
  }
  ucred user{};
  size = sizeof(user);
  getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &size);
  return absl::StrCat("user ", user.uid);
}

// 0: it is no socket any more.
ino_t InodeOf(int fd) {
  struct stat info {};
  return fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode) ? info.st_ino : 0;
}

bool IsOutOfDescriptors(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace

ConnectionAcceptor::ConnectionAcceptor(std::vector<Listener> listeners, int max_connections,
                                       const Clock* clock, RefusalCounters* refusals)
    : listeners_(std::move(listeners)),
      max_connections_(max_connections),
      clock_(clock),
      refusals_(refusals),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      open_(listeners_.size()) {}

void ConnectionAcceptor::Stop() {
  // Fails only where it is set already.
  static_cast<void>(eventfd_write(stop_.get(), 1));
}

void ConnectionAcceptor::Run() {
  while (RunOnce(absl::InfiniteDuration())) {
  }
}

bool ConnectionAcceptor::RunOnce(absl::Duration timeout) {
  std::vector<pollfd> waiting = {{stop_.get(), POLLIN, 0}};
  if (out_of_descriptors_) {
    // What waits cannot be accepted now, and would be reported at once for ever.
    timeout = std::min(timeout, kDescriptorWait);
    out_of_descriptors_ = false;
  } else {
    for (const Listener& listener : listeners_) waiting.push_back({listener.fd, POLLIN, 0});
  }
  const int milliseconds = timeout == absl::InfiniteDuration()
                               ? -1
                               : static_cast<int>(absl::ToInt64Milliseconds(timeout));
  poll(waiting.data(), waiting.size(), milliseconds);
  if (waiting[0].revents != 0) return false;
  for (size_t i = 1; i < waiting.size(); ++i) {
    if (waiting[i].revents != 0) Accept(i - 1);
  }
  return true;
}

void ConnectionAcceptor::Accept(size_t listener) {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    UniqueFd fd(accept4(listeners_[listener].fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.valid()) {
      Handle(listener, std::move(fd));
    } else if (IsOutOfDescriptors(errno)) {
      out_of_descriptors_ = true;
      const MutexLock lock(&mutex_);
      Refuse(listener, "", Refusal::kDescriptors);
      return;
    } else if (errno != ECONNABORTED && errno != EINTR) {
      return;  // nothing more waits
    }
  }
}

void ConnectionAcceptor::Handle(size_t listener, UniqueFd fd) {
  const std::string peer = PeerOf(fd.get());
  const ino_t inode = InodeOf(fd.get());
  if (peer.empty() || inode == 0) return;  // gone again
  {
    const MutexLock lock(&mutex_);
    if (!Admit(listener, peer)) return;
    open_[listener].Add(fd.get(), {inode, peer});
  }
  listeners_[listener].take(fd.Release());
}

std::optional<Refusal> ConnectionAcceptor::FindRefusal(const Open& open,
                                                       const std::string& peer) const {
  if (static_cast<int>(open.connections.size()) >= max_connections_) return Refusal::kConnections;
  const auto found = open.peers.find(peer);
  const int of_peer = found == open.peers.end() ? 0 : found->second;
  if (of_peer >= std::max(1, max_connections_ / 2)) return Refusal::kConnectionsPerPeer;
  return std::nullopt;
}

bool ConnectionAcceptor::Admit(size_t listener, const std::string& peer) {
  Open& open = open_[listener];
  std::optional<Refusal> reason = FindRefusal(open, peer);
  const absl::Duration now = clock_->Now().monotonic;
  if (reason.has_value() && now - open.swept_at >= kSweepInterval) {
    open.Sweep(now);
    reason = FindRefusal(open, peer);
  }
  if (reason.has_value()) Refuse(listener, peer, *reason);
  return !reason.has_value();
}

void ConnectionAcceptor::Refuse(size_t listener, const std::string& peer, Refusal reason) {
  refusals_->Count(reason);
  const absl::Duration now = clock_->Now().monotonic;
  if (now - logged_at_ < kLogInterval) return;
  logged_at_ = now;
  const std::string& name = listeners_[listener].name;
  if (reason == Refusal::kDescriptors) {
    spdlog::error("{}: no descriptor is left for a connection; it waits", name);
    return;
  }
  spdlog::warn(
      "{}: a connection of {} was closed: {} of at most {} are open{}; --max-connections "
      "sets the limit",
      name, peer, open_[listener].connections.size(), max_connections_,
      reason == Refusal::kConnectionsPerPeer ? ", half of them its own" : "");
}

void ConnectionAcceptor::Open::Add(int fd, Connection connection) {
  Forget(fd);  // one before it, whose descriptor was closed and given again
  ++peers[connection.peer];
  connections[fd] = std::move(connection);
}

void ConnectionAcceptor::Open::Forget(int fd) {
  const auto found = connections.find(fd);
  if (found == connections.end()) return;
  const auto peer = peers.find(found->second.peer);
  if (--peer->second == 0) peers.erase(peer);
  connections.erase(found);
}

void ConnectionAcceptor::Open::Sweep(absl::Duration now) {
  swept_at = now;
  std::vector<int> closed;
  for (const auto& [fd, connection] : connections) {
    if (InodeOf(fd) != connection.inode) closed.push_back(fd);
  }
  for (const int fd : closed) Forget(fd);
}

std::vector<int> ConnectionAcceptor::open_connections() {
  const MutexLock lock(&mutex_);
  std::vector<int> out;
  for (Open& open : open_) {
    open.Sweep(clock_->Now().monotonic);
    out.push_back(static_cast<int>(open.connections.size()));
  }
  return out;
}

}  // namespace vmeventd
