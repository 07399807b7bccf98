#include "server/transport/connection_acceptor.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr int kAcceptsAtOnce = 64;  // of one listener before the next has its turn
constexpr absl::Duration kLogInterval = absl::Seconds(10);
constexpr absl::Duration kTick = absl::Seconds(1);
constexpr absl::Duration kDescriptorWait = absl::Milliseconds(100);

bool IsOutOfDescriptors(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace

ConnectionAcceptor::ConnectionAcceptor(std::vector<Listener> listeners, int max_connections,
                                       const RelayLimits& limits, const Clock* clock,
                                       Clients* clients, RefusalCounters* refusals,
                                       std::function<void()> tick)
    : listeners_(std::move(listeners)),
      max_connections_(max_connections),
      clock_(clock),
      clients_(clients),
      refusals_(refusals),
      tick_(std::move(tick)),
      relay_(limits, clock, refusals, [this](Relay::Id id) { Forget(id); }),
      watched_(listeners_.size()),
      open_(listeners_.size()) {}

void ConnectionAcceptor::CallInTurn(std::function<void()> done) {
  {
    const MutexLock lock(&mutex_);
    in_turn_.push_back(std::move(done));
  }
  relay_.Wake();
}

void ConnectionAcceptor::StopAccepting() {
  const MutexLock lock(&accepting_mutex_);
  accepting_ = false;
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

void ConnectionAcceptor::Run() {
  Steady::time_point ticked = Steady::now();
  while (RunOnce(connections_.empty() ? absl::InfiniteDuration() : kTick)) {
    const Steady::time_point now = Steady::now();
    if (now - ticked < absl::ToChronoNanoseconds(kTick)) continue;
    ticked = now;
    tick_();
  }
}

bool ConnectionAcceptor::RunOnce(absl::Duration timeout) {
  const absl::Duration left = TimeLeft();
  if (left <= absl::ZeroDuration() || (left != absl::InfiniteDuration() && connections_.empty())) {
    relay_.CloseAll();
    return false;
  }
  if (left != absl::InfiniteDuration() && !std::exchange(ending_, true)) relay_.EndAll();
  timeout = std::min({timeout, left, OpenSockets()});
  if (out_of_descriptors_) {
    // What waits cannot be accepted now, and would be reported at once for ever.
    relay_.SetWatching(false);
    relay_.RunOnce(std::min(timeout, kDescriptorWait));
    relay_.SetWatching(true);
    out_of_descriptors_ = false;
  } else {
    relay_.RunOnce(timeout);
  }
  std::vector<std::function<void()>> in_turn;
  {
    const MutexLock lock(&mutex_);
    in_turn.swap(in_turn_);
  }
  for (const std::function<void()>& done : in_turn) done();
  return true;
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
      relay_.Watch(socket->socket()->fd(), [this, i] { Accept(i); });
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
    if (relay_.closer()->full()) {
      out_of_descriptors_ = true;
      RefuseForDescriptors(listener);
      return;
    }
    const int from = listeners_[listener].socket->socket()->fd();
    UniqueFd fd(accept4(from, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.valid()) {
      Handle(listener, ReceivingSocket(std::move(fd), relay_.closer()));
    } else if (IsOutOfDescriptors(errno)) {
      out_of_descriptors_ = true;
      RefuseForDescriptors(listener);
      return;
    } else if (errno != ECONNABORTED && errno != EINTR) {
      return;  // nothing more waits
    }
  }
}

void ConnectionAcceptor::Handle(size_t listener, ReceivingSocket socket) {
  std::string peer = PeerOfSocket(socket.get());
  if (peer.empty()) return;  // gone again
  if (const std::optional<Refusal> reason = FindRefusal(listener, peer)) {
    Refuse(listener, peer, *reason);
    return;
  }
  absl::StatusOr<Relay::Added> added = relay_.Add(std::move(socket), peer);
  if (!added.ok()) {
    RefuseForDescriptors(listener);
    return;
  }
  {
    const MutexLock lock(&mutex_);
    ++open_[listener].connections;
    ++open_[listener].peers[peer];
  }
  clients_->Add(
      added->name, peer, [this, id = added->id] { relay_.Cut(id); }, added->charges);
  connections_.emplace(added->id, Connection{listener, std::move(peer), added->name});
  listeners_[listener].take(added->server.Release());
}

void ConnectionAcceptor::Forget(Relay::Id id) {
  const auto found = connections_.find(id);
  const Connection& connection = found->second;
  clients_->Remove(connection.name);
  {
    const MutexLock lock(&mutex_);
    Open& open = open_[connection.listener];
    --open.connections;
    const auto peer = open.peers.find(connection.peer);
    if (--peer->second == 0) open.peers.erase(peer);
  }
  connections_.erase(found);
}

std::optional<Refusal> ConnectionAcceptor::FindRefusal(size_t listener,
                                                       const std::string& peer) const {
  if (clients_->ResetsTooMany(peer)) return Refusal::kResets;
  const MutexLock lock(&mutex_);
  const Open& open = open_[listener];
  if (open.connections >= max_connections_) return Refusal::kConnections;
  const auto found = open.peers.find(peer);
  const int of_peer = found == open.peers.end() ? 0 : found->second;
  if (of_peer >= std::max(1, max_connections_ / 2)) return Refusal::kConnectionsPerPeer;
  return std::nullopt;
}

void ConnectionAcceptor::Refuse(size_t listener, const std::string& peer, Refusal reason) {
  refusals_->Count(reason);
  const absl::Duration now = clock_->Now().monotonic;
  if (now - logged_at_ < kLogInterval) return;
  logged_at_ = now;
  if (reason == Refusal::kResets) {
    spdlog::warn("{}: a connection of {} was closed: it opens calls and resets them at once",
                 listeners_[listener].name, peer);
    return;
  }
  spdlog::warn(
      "{}: a connection of {} was closed: {} of at most {} are open{}; --max-connections "
      "sets the limit",
      listeners_[listener].name, peer, open_connections()[listener], max_connections_,
      reason == Refusal::kConnectionsPerPeer ? ", half of them its own" : "");
}

void ConnectionAcceptor::RefuseForDescriptors(size_t listener) {
  refusals_->Count(Refusal::kDescriptors);
  const absl::Duration now = clock_->Now().monotonic;
  if (now - logged_at_ < kLogInterval) return;
  logged_at_ = now;
  spdlog::error("{}: no descriptor is left for a connection", listeners_[listener].name);
}

std::vector<int> ConnectionAcceptor::open_connections() const {
  const MutexLock lock(&mutex_);
  std::vector<int> out;
  out.reserve(open_.size());
  for (const Open& open : open_) out.push_back(open.connections);
  return out;
}

}  // namespace vmeventd
