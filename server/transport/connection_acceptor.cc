#include "server/transport/connection_acceptor.h"

#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/access/access_policy.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr int kAcceptsAtOnce = 64;  // accepts on one listener before the next has its turn
constexpr absl::Duration kTick = absl::Seconds(1);
constexpr absl::Duration kDescriptorWait = absl::Milliseconds(100);

bool IsOutOfDescriptors(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace

class ConnectionAcceptor::Accepting : public FdHandler {
 public:
  Accepting(ConnectionAcceptor* acceptor, size_t listener)
      : acceptor_(acceptor), listener_(listener) {}
  void OnFdReady(uint32_t /*events*/) override { acceptor_->Accept(listener_); }

 private:
  ConnectionAcceptor* const acceptor_;
  const size_t listener_;
};

absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> ConnectionAcceptor::Create(
    Options options, const Clock* clock, Clients* clients, RefusalCounters* refusals) {
  absl::StatusOr<std::unique_ptr<EventLoop>> accept_loop = EventLoop::Create(clock);
  if (!accept_loop.ok()) return accept_loop.status();
  absl::StatusOr<std::unique_ptr<EventLoop>> relay_loop = EventLoop::Create(clock);
  if (!relay_loop.ok()) return relay_loop.status();
  return std::unique_ptr<ConnectionAcceptor>(new ConnectionAcceptor(
      std::move(options), *std::move(accept_loop), *std::move(relay_loop), clients, refusals));
}

ConnectionAcceptor::ConnectionAcceptor(Options options, std::unique_ptr<EventLoop> accept_loop,
                                       std::unique_ptr<EventLoop> relay_loop, Clients* clients,
                                       RefusalCounters* refusals)
    : options_(std::move(options)),
      clients_(clients),
      refusals_(refusals),
      accept_loop_(std::move(accept_loop)),
      relay_loop_(std::move(relay_loop)),
      arrivals_(
          options_.listeners.size(), options_.arrivals, accept_loop_.get(), refusals,
          [this](Arrivals::Arrived arrived) { OnArrived(std::move(arrived)); },
          [this](size_t listener, const std::string& peer, const std::string& why) {
            LogClosed(listener, peer, why);
          }),
      watched_(options_.listeners.size()),
      relay_(
          options_.relay, relay_loop_.get(), refusals, [this](Relay::Id id) { Forget(id); },
          [this](Relay::Id id, const std::string& why) {
            const Connection& connection = connections_.find(id)->second;
            LogClosed(connection.listener, connection.peer, why);
          }),
      open_(options_.listeners.size()) {}

ConnectionAcceptor::~ConnectionAcceptor() = default;

void ConnectionAcceptor::CallInTurn(std::function<void()> done) {
  accept_loop_->Post(
      [this, done = std::move(done)]() mutable { relay_loop_->Post(std::move(done)); });
}

void ConnectionAcceptor::StopAccepting() {
  {
    const MutexLock lock(&accepting_mutex_);
    accepting_ = false;
  }
  accept_loop_->Wake();
}

void ConnectionAcceptor::Stop(absl::Duration timeout) {
  StopAccepting();
  relay_loop_->Post([this, end = SteadyNow() + timeout] { end_ = end; });
}

bool ConnectionAcceptor::AcceptOnce(absl::Duration timeout) {
  timeout = std::min(timeout, OpenSockets());
  if (std::exchange(out_of_descriptors_, false)) {
    // Pending connections cannot be accepted now, and epoll would report them at once for ever.
    WatchSockets(false);
    accept_loop_->RunOnce(std::min(timeout, kDescriptorWait));
    WatchSockets(true);
    timeout = absl::ZeroDuration();
  }
  accept_loop_->RunOnce(timeout);
  const MutexLock lock(&accepting_mutex_);
  if (!accepting_) arrivals_.CloseAll();
  return accepting_;
}

void ConnectionAcceptor::WatchSockets(bool watch) {
  const MutexLock lock(&accepting_mutex_);
  for (size_t i = 0; accepting_ && i < options_.listeners.size(); ++i) {
    if (watched_[i] != nullptr)
      accept_loop_->Modify(DescriptorOf(i), watch ? uint32_t{EPOLLIN} : 0);
  }
}

absl::Duration ConnectionAcceptor::OpenSockets() {
  const MutexLock lock(&accepting_mutex_);
  absl::Duration wait = absl::InfiniteDuration();
  if (!accepting_) return wait;
  const absl::Duration now = accept_loop_->Now().monotonic;
  for (size_t i = 0; i < options_.listeners.size(); ++i) {
    if (watched_[i] != nullptr) continue;
    ListenAttempts* const socket = options_.listeners[i].socket;
    if (!socket->Try(now).ok()) {
      wait = std::min(wait, socket->due() - now);
      continue;
    }
    auto accepting = std::make_unique<Accepting>(this, i);
    if (!accept_loop_->Add(DescriptorOf(i), EPOLLIN, accepting.get()).ok()) {
      wait = std::min(wait, kDescriptorWait);
      continue;
    }
    watched_[i] = std::move(accepting);
    options_.listeners[i].listening();
  }
  return wait;
}

void ConnectionAcceptor::Accept(size_t listener) {
  const MutexLock lock(&accepting_mutex_);
  for (int i = 0; i < kAcceptsAtOnce && accepting_; ++i) {
    if (closer_.full()) {
      out_of_descriptors_ = true;
      RefuseForDescriptors(listener);
      return;
    }
    UniqueFd fd(accept4(DescriptorOf(listener), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.valid()) {
      std::string peer = PeerOfSocket(fd.get());
      if (peer.empty()) continue;  // gone again
      TlsFiles* const tls = options_.listeners[listener].tls;
      // The context lives as long as the handshakes that were begun with it.
      const auto material = tls == nullptr ? nullptr : tls->Current();
      arrivals_.Add(listener, ReceivingSocket(std::move(fd), &closer_), std::move(peer),
                    material == nullptr ? nullptr : material->context.get());
    } else if (IsOutOfDescriptors(errno)) {
      out_of_descriptors_ = true;
      RefuseForDescriptors(listener);
      return;
    } else if (errno != ECONNABORTED && errno != EINTR) {
      return;  // nothing more waits
    }
  }
}

void ConnectionAcceptor::OnArrived(Arrivals::Arrived arrived) {
  const size_t listener = arrived.listener;
  {
    const MutexLock lock(&mutex_);
    Open& open = open_[listener];
    const std::optional<Refusal> reason = FindRefusal(open, arrived.peer);
    if (!reason.has_value()) {
      ++open.connections;
      ++open.peers[arrived.peer];
      relay_loop_->Post(
          [this, arrived = std::move(arrived)]() mutable { Serve(std::move(arrived)); });
      return;
    }
    refusals_->Count(*reason);
    if (MayLog()) {
      spdlog::warn(
          "{}: a connection of {} was closed: {} of at most {} are open{}; --max-connections "
          "sets the limit",
          options_.listeners[listener].name, arrived.peer, open.connections,
          options_.max_connections,
          *reason == Refusal::kConnectionsPerPeer ? ", half of them its own" : "");
    }
  }
}

ConnectionAcceptor::Seats ConnectionAcceptor::SeatsWithin(int descriptors, int max_connections) {
  const int at_once = static_cast<int>(ArrivalLimits().at_once);
  const int arrivals = descriptors >= DescriptorsFor(max_connections)
                           ? at_once
                           : std::clamp(descriptors / 4, 1, at_once);
  const int seats = (descriptors - arrivals) / kDescriptorsOfConnection;
  return {std::clamp(seats, 1, max_connections), static_cast<size_t>(arrivals)};
}

std::optional<Refusal> ConnectionAcceptor::FindRefusal(const Open& open,
                                                       const std::string& peer) const {
  const auto found = open.peers.find(peer);
  const int of_peer = found == open.peers.end() ? 0 : found->second;
  if (of_peer >= std::max(1, options_.max_connections / 2)) return Refusal::kConnectionsPerPeer;
  if (open.connections >= options_.max_connections) return Refusal::kConnections;
  return std::nullopt;
}

void ConnectionAcceptor::RefuseForDescriptors(size_t listener) {
  refusals_->Count(Refusal::kDescriptors);
  const MutexLock lock(&mutex_);
  if (MayLog()) {
    spdlog::error("{}: no file descriptor is left for a connection",
                  options_.listeners[listener].name);
  }
}

void ConnectionAcceptor::RunRelay() {
  absl::Time ticked = SteadyNow();
  while (RelayOnce(connections_.empty() ? absl::InfiniteDuration() : kTick)) {
    const absl::Time now = SteadyNow();
    if (now - ticked < kTick) continue;
    ticked = now;
    options_.tick();
  }
}

bool ConnectionAcceptor::RelayOnce(absl::Duration timeout) {
  relay_loop_->RunOnce(std::min(timeout, end_ - SteadyNow()));
  if (end_ == absl::InfiniteFuture()) return true;
  if (!std::exchange(ending_, true)) relay_.EndAll();
  if (!connections_.empty() && SteadyNow() < end_) return true;
  relay_.CloseAll();
  return false;
}

void ConnectionAcceptor::Serve(Arrivals::Arrived arrived) {
  const size_t listener = arrived.listener;
  Clients::Caller caller{.listener = listener, .peer = arrived.peer};
  if (arrived.tls != nullptr) {
    // Null if clients are not asked for a certificate; one that is shown was verified.
    const X509Ptr certificate(SSL_get1_peer_certificate(arrived.tls.get()));
    caller.names = CertificateNamesOf(certificate.get());
  }
  absl::StatusOr<Relay::Added> added =
      relay_.Add(std::move(arrived.socket), std::move(arrived.tls), arrived.peer);
  if (!added.ok()) {
    GiveSeatBack(listener, arrived.peer);
    RefuseForDescriptors(listener);
    return;
  }
  clients_->Add(added->name, std::move(caller), [this, id = added->id] { relay_.Cut(id); });
  connections_.emplace(added->id, Connection{listener, std::move(arrived.peer), added->name});
  options_.listeners[listener].take(added->server.Release());
}

void ConnectionAcceptor::Forget(Relay::Id id) {
  const auto found = connections_.find(id);
  const Connection& connection = found->second;
  clients_->Remove(connection.name);
  GiveSeatBack(connection.listener, connection.peer);
  connections_.erase(found);
}

void ConnectionAcceptor::GiveSeatBack(size_t listener, const std::string& peer) {
  const MutexLock lock(&mutex_);
  Open& open = open_[listener];
  --open.connections;
  const auto found = open.peers.find(peer);
  if (--found->second == 0) open.peers.erase(found);
}

void ConnectionAcceptor::LogClosed(size_t listener, const std::string& peer,
                                   const std::string& why) {
  const MutexLock lock(&mutex_);
  if (MayLog()) {
    spdlog::warn("{}: a connection of {} was closed: {}", options_.listeners[listener].name, peer,
                 why);
  }
}

std::vector<int> ConnectionAcceptor::open_connections() const {
  const MutexLock lock(&mutex_);
  std::vector<int> out;
  out.reserve(open_.size());
  for (const Open& open : open_) out.push_back(open.connections);
  return out;
}

}  // namespace vmeventd
