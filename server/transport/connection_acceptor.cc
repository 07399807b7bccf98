#include "server/transport/connection_acceptor.h"

#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <utility>

#include "absl/status/statusor.h"
#include "server/access/certificate_names.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr int kDescriptorsOfConnection = 3;  // the client's, and the relay's pair
// The part of its connections that a listener has beyond them, for peers with few.
constexpr int kExtraPart = 8;
constexpr int kAcceptsAtOnce = 64;  // of one listener before the next has its turn
constexpr absl::Duration kLogInterval = absl::Seconds(10);
constexpr absl::Duration kTick = absl::Seconds(1);
constexpr absl::Duration kDescriptorWait = absl::Milliseconds(100);
// Beside the number of a listener.
constexpr uint64_t kWokenTag = UINT64_MAX;
constexpr uint64_t kArrivalsTag = UINT64_MAX - 1;

bool IsOutOfDescriptors(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

int ToMilliseconds(absl::Duration timeout) {
  if (timeout == absl::InfiniteDuration()) return -1;
  return static_cast<int>(
      std::max<int64_t>(0, absl::ToInt64Milliseconds(absl::Ceil(timeout, absl::Milliseconds(1)))));
}

void Register(int epoll, int fd, uint64_t tag) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = tag}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

}  // namespace

ConnectionAcceptor::ConnectionAcceptor(std::vector<Listener> listeners, int max_connections,
                                       const RelayLimits& limits, const Clock* clock,
                                       Clients* clients, RefusalCounters* refusals,
                                       std::function<void()> tick, ArrivalLimits arrivals)
    : listeners_(std::move(listeners)),
      max_connections_(max_connections),
      clock_(clock),
      clients_(clients),
      refusals_(refusals),
      tick_(std::move(tick)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      arrivals_(listeners_.size(), arrivals, clock, refusals,
                [this](Arrivals::Arrived arrived) { OnArrived(std::move(arrived)); }),
      watched_(listeners_.size()),
      relay_(
          limits, clock, refusals, [this](Relay::Id id) { Forget(id); },
          [this](Relay::Id id, const Breach& breach) { LogBreach(id, breach); }),
      open_(listeners_.size()) {
  Register(epoll_.get(), wake_.get(), kWokenTag);
  Register(epoll_.get(), arrivals_.fd(), kArrivalsTag);
}

void ConnectionAcceptor::WakeAccepting() {
  static_cast<void>(eventfd_write(wake_.get(), 1));  // fails only where it is set already
}

void ConnectionAcceptor::CallInTurn(std::function<void()> done) {
  {
    const MutexLock lock(&mutex_);
    for_acceptor_.push_back(std::move(done));
  }
  WakeAccepting();
}

void ConnectionAcceptor::StopAccepting() {
  {
    const MutexLock lock(&accepting_mutex_);
    accepting_ = false;
  }
  WakeAccepting();
}

void ConnectionAcceptor::Stop(absl::Duration timeout) {
  StopAccepting();
  {
    const MutexLock lock(&mutex_);
    end_ = Steady::now() + absl::ToChronoNanoseconds(timeout);
  }
  relay_.Wake();
}

absl::Duration ConnectionAcceptor::TimeLeft() const {
  const MutexLock lock(&mutex_);
  return end_.has_value() ? absl::FromChrono(*end_ - Steady::now()) : absl::InfiniteDuration();
}

void ConnectionAcceptor::RunAccepting() {
  while (AcceptOnce(absl::InfiniteDuration())) {
  }
}

bool ConnectionAcceptor::AcceptOnce(absl::Duration timeout) {
  timeout = std::min({timeout, arrivals_.UntilDeadline(), OpenSockets()});
  if (std::exchange(out_of_descriptors_, false)) {
    // Waiting connections cannot be accepted now, and would be reported at once for ever.
    WatchSockets(false);
    epoll_event ignored;
    epoll_wait(epoll_.get(), &ignored, 1, ToMilliseconds(std::min(timeout, kDescriptorWait)));
    WatchSockets(true);
    timeout = absl::ZeroDuration();
  }
  std::array<epoll_event, 16> events;
  const int count = epoll_wait(epoll_.get(), events.data(), events.size(), ToMilliseconds(timeout));
  for (int i = 0; i < count; ++i) {
    const uint64_t tag = events[i].data.u64;
    eventfd_t ignored;
    if (tag < listeners_.size()) Accept(tag);
    if (tag == kWokenTag) static_cast<void>(eventfd_read(wake_.get(), &ignored));
  }
  arrivals_.RunOnce();
  PassCallsOn();
  const MutexLock lock(&accepting_mutex_);
  if (!accepting_) arrivals_.CloseAll();
  return accepting_;
}

void ConnectionAcceptor::PassCallsOn() {
  {
    const MutexLock lock(&mutex_);
    if (for_acceptor_.empty()) return;
    std::move(for_acceptor_.begin(), for_acceptor_.end(), std::back_inserter(for_relay_));
    for_acceptor_.clear();
  }
  relay_.Wake();
}

void ConnectionAcceptor::WatchSockets(bool watch) {
  const MutexLock lock(&accepting_mutex_);
  for (size_t i = 0; accepting_ && i < listeners_.size(); ++i) {
    if (!watched_[i]) continue;
    const int fd = listeners_[i].socket->socket()->fd();
    if (watch) {
      Register(epoll_.get(), fd, i);
    } else {
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    }
  }
}

absl::Duration ConnectionAcceptor::OpenSockets() {
  const MutexLock lock(&accepting_mutex_);
  absl::Duration wait = absl::InfiniteDuration();
  if (!accepting_) return wait;
  const absl::Duration now = clock_->Now().monotonic;
  for (size_t i = 0; i < listeners_.size(); ++i) {
    if (watched_[i]) continue;
    ListenAttempts* const socket = listeners_[i].socket;
    if (socket->Try(now).ok()) {
      watched_[i] = true;
      Register(epoll_.get(), socket->socket()->fd(), i);
      listeners_[i].listening();
    } else {
      wait = std::min(wait, socket->due() - now);
    }
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
    const int from = listeners_[listener].socket->socket()->fd();
    UniqueFd fd(accept4(from, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.valid()) {
      std::string peer = PeerOfSocket(fd.get());
      if (peer.empty()) continue;  // gone again
      TlsFiles* const tls = listeners_[listener].tls;
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
      arrived_.push_back(std::move(arrived));
      relay_.Wake();
      return;
    }
    refusals_->Count(*reason);
    if (MayLog()) {
      spdlog::warn(
          "{}: a connection of {} was closed: {} of at most {} are open{}; --max-connections "
          "sets the limit",
          listeners_[listener].name, arrived.peer, open.connections, max_connections_,
          *reason == Refusal::kConnectionsPerPeer ? ", half of them its own" : "");
    }
  }
}

int ConnectionAcceptor::DescriptorsFor(int max_connections) {
  const int seats = max_connections + max_connections / kExtraPart + kReservedConnections;
  return seats * kDescriptorsOfConnection + static_cast<int>(ArrivalLimits().at_once);
}

ConnectionAcceptor::Seats ConnectionAcceptor::SeatsWithin(int descriptors, int max_connections) {
  const size_t at_once = ArrivalLimits().at_once;
  if (descriptors >= DescriptorsFor(max_connections)) return {max_connections, at_once};
  const int arrivals = std::min(static_cast<int>(at_once), descriptors / 4);
  const int seats = (descriptors - arrivals) / kDescriptorsOfConnection - kReservedConnections;
  return {std::clamp(seats * kExtraPart / (kExtraPart + 1), 1, max_connections),
          static_cast<size_t>(std::max(arrivals, 1))};
}

std::optional<Refusal> ConnectionAcceptor::FindRefusal(const Open& open,
                                                       const std::string& peer) const {
  const auto found = open.peers.find(peer);
  const int of_peer = found == open.peers.end() ? 0 : found->second;
  if (of_peer >= std::max(1, max_connections_ / 2)) return Refusal::kConnectionsPerPeer;
  const bool reserve = HasReserve(peer);
  const int limit = max_connections_ +
                    (reserve || of_peer < kFewConnections ? max_connections_ / kExtraPart : 0) +
                    (reserve ? kReservedConnections : 0);
  if (open.connections >= limit) return Refusal::kConnections;
  return std::nullopt;
}

bool ConnectionAcceptor::MayLog() {
  const absl::Duration now = clock_->Now().monotonic;
  if (now - logged_at_ < kLogInterval) return false;
  logged_at_ = now;
  return true;
}

void ConnectionAcceptor::RefuseForDescriptors(size_t listener) {
  refusals_->Count(Refusal::kDescriptors);
  const MutexLock lock(&mutex_);
  if (MayLog()) {
    spdlog::error("{}: no descriptor is left for a connection", listeners_[listener].name);
  }
}

void ConnectionAcceptor::RunRelay() {
  Steady::time_point ticked = Steady::now();
  while (RelayOnce(connections_.empty() ? absl::InfiniteDuration() : kTick)) {
    const Steady::time_point now = Steady::now();
    if (now - ticked < absl::ToChronoNanoseconds(kTick)) continue;
    ticked = now;
    tick_();
  }
}

bool ConnectionAcceptor::RelayOnce(absl::Duration timeout) {
  ServeAll();
  const absl::Duration left = TimeLeft();
  if (left <= absl::ZeroDuration() || (left != absl::InfiniteDuration() && connections_.empty())) {
    relay_.CloseAll();
    return false;
  }
  if (left != absl::InfiniteDuration() && !std::exchange(ending_, true)) relay_.EndAll();
  relay_.RunOnce(std::min(timeout, left));
  ServeAll();
  std::vector<std::function<void()>> calls;
  {
    const MutexLock lock(&mutex_);
    calls.swap(for_relay_);
  }
  for (const std::function<void()>& call : calls) call();
  return true;
}

void ConnectionAcceptor::ServeAll() {
  std::deque<Arrivals::Arrived> arrived;
  {
    const MutexLock lock(&mutex_);
    arrived.swap(arrived_);
  }
  for (Arrivals::Arrived& one : arrived) Serve(std::move(one));
}

void ConnectionAcceptor::Serve(Arrivals::Arrived arrived) {
  const size_t listener = arrived.listener;
  Clients::Caller caller{.listener = listener, .peer = arrived.peer};
  if (arrived.tls != nullptr) {
    // Null where clients are not asked for one: whoever shows one was verified.
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
  listeners_[listener].take(added->server.Release());
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

void ConnectionAcceptor::LogBreach(Relay::Id id, const Breach& breach) {
  const Connection& connection = connections_.find(id)->second;
  const MutexLock lock(&mutex_);
  if (MayLog()) {
    spdlog::warn("{}: a connection of {} was closed: {}", listeners_[connection.listener].name,
                 connection.peer, breach.what);
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
