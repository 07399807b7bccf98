#include "server/transport/connection_acceptor.h"

#include <openssl/ssl.h>

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/openssl_ptr.h"
#include "base/receiving_socket.h"
#include "server/access/certificate_names.h"
#include "server/access/peer.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kTick = absl::Seconds(1);

}  // namespace

absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> ConnectionAcceptor::Create(
    Options options, const Clock* clock, Clients* clients, RefusalCounters* refusals) {
  absl::StatusOr<std::unique_ptr<EventLoop>> accept_loop = EventLoop::Create(clock);
  if (!accept_loop.ok()) return accept_loop.status();
  absl::StatusOr<std::unique_ptr<EventLoop>> relay_loop = EventLoop::Create(clock);
  if (!relay_loop.ok()) return relay_loop.status();
  std::unique_ptr<ConnectionAcceptor> out(new ConnectionAcceptor(
      std::move(options), *std::move(accept_loop), *std::move(relay_loop), clients, refusals));
  if (absl::Status status = out->Listen(); !status.ok()) return status;
  return out;
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
          options_.addresses.size(), options_.arrivals, accept_loop_.get(), refusals,
          [this](Arrivals::Arrived arrived) { OnArrived(std::move(arrived)); },
          [this](size_t listener, const std::string& peer, const std::string& why) {
            LogClosed(listener, peer, why);
          }),
      relay_(
          options_.relay, relay_loop_.get(), refusals, [this](Relay::Id id) { Forget(id); },
          [this](Relay::Id id, const std::string& why) {
            const Connection& connection = connections_.find(id)->second;
            LogClosed(connection.listener, connection.peer, why);
          }),
      open_(options_.addresses.size()) {}

absl::Status ConnectionAcceptor::Listen() {
  for (size_t i = 0; i < options_.addresses.size(); ++i) {
    const ListenAddress& address = options_.addresses[i];
    {
      const MutexLock lock(&mutex_);
      open_[i].state.address = address;
    }
    const auto listening = [this, i] {
      {
        const MutexLock lock(&mutex_);
        open_[i].state.address = sockets_[i]->address();
        open_[i].state.listening = sockets_[i]->listening();
      }
      options_.listening();
    };
    sockets_.push_back(std::make_unique<AcceptingSocket>(
        "gRPC", address, accept_loop_.get(),
        AcceptingSocket::Calls{.accepted = [this, i](UniqueFd fd) { OnAccepted(i, std::move(fd)); },
                               .out_of_descriptors = [this, i] { RefuseForDescriptors(i); },
                               .listening = listening,
                               .full = [this] { return closer_.full(); }}));
    const absl::Status status = sockets_.back()->Listen();
    if (absl::IsAlreadyExists(status)) return status;
  }
  return absl::OkStatus();
}

void ConnectionAcceptor::CallInTurn(std::function<void()> done) {
  accept_loop_->Post(
      [this, done = std::move(done)]() mutable { relay_loop_->Post(std::move(done)); });
}

void ConnectionAcceptor::Stop(absl::Duration timeout) {
  StopAccepting();
  relay_loop_->Post([this, end = SteadyNow() + timeout] { end_ = end; });
}

void ConnectionAcceptor::OnAccepted(size_t listener, UniqueFd fd) {
  std::string peer = PeerOfSocket(fd.get());
  if (peer.empty()) return;  // gone again
  const bool plain = options_.tls == nullptr || options_.addresses[listener].is_unix();
  // The context lives as long as the handshakes that were begun with it.
  const auto material = plain ? nullptr : options_.tls->Current();
  arrivals_.Add(listener, ReceivingSocket(std::move(fd), &closer_), std::move(peer),
                material == nullptr ? nullptr : material->context.get());
}

void ConnectionAcceptor::OnArrived(Arrivals::Arrived arrived) {
  const MutexLock lock(&mutex_);
  Open& open = open_[arrived.listener];
  const auto found = open.peers.find(arrived.peer);
  const int of_peer = found == open.peers.end() ? 0 : found->second;
  const bool peer_is_full = of_peer >= std::max(1, options_.max_connections / 2);
  if (!peer_is_full && open.state.connections < options_.max_connections) {
    ++open.state.connections;
    ++open.peers[arrived.peer];
    relay_loop_->Post(
        [this, arrived = std::move(arrived)]() mutable { Serve(std::move(arrived)); });
    return;
  }
  refusals_->Count(peer_is_full ? Refusal::kConnectionsPerPeer : Refusal::kConnections);
  if (MayLog()) {
    spdlog::warn(
        "{}: a connection from {} was closed: {} of at most {} are open{}; --max-connections "
        "sets the limit",
        open.state.address.ToString(), arrived.peer, open.state.connections,
        options_.max_connections, peer_is_full ? ", half of them its own" : "");
  }
}

void ConnectionAcceptor::RefuseForDescriptors(size_t listener) {
  refusals_->Count(Refusal::kDescriptors);
  const MutexLock lock(&mutex_);
  if (MayLog()) {
    spdlog::error("{}: no file descriptor is left for a connection",
                  open_[listener].state.address.ToString());
  }
}

void ConnectionAcceptor::RunRelay() {
  // Ticks after the last connection: what it used is given back in one of them.
  constexpr int kLastTicks = 15;
  int ticks_left = 0;
  absl::Time ticked = SteadyNow();
  const auto wait = [&] {
    if (!connections_.empty()) ticks_left = kLastTicks;
    if (ticks_left == 0) return absl::InfiniteDuration();
    return std::max(absl::ZeroDuration(), ticked + kTick - SteadyNow());
  };
  while (RelayOnce(wait())) {
    const absl::Time now = SteadyNow();
    if (now - ticked < kTick) continue;
    ticked = now;
    ticks_left = std::max(0, ticks_left - 1);
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
  CallPeer caller{.peer = arrived.peer, .listener = listener};
  if (arrived.tls != nullptr) {
    // Null if clients are not asked for a certificate; one that is shown was verified.
    const X509Ptr certificate(SSL_get1_peer_certificate(arrived.tls.get()));
    caller.certificate_names = CertificateNamesOf(certificate.get());
  }
  absl::StatusOr<Relay::Added> added =
      relay_.Add(std::move(arrived.socket), std::move(arrived.tls), arrived.peer);
  if (!added.ok()) {
    CountClosed(listener, arrived.peer);
    RefuseForDescriptors(listener);
    return;
  }
  clients_->Add(added->name, std::move(caller), [this, id = added->id] { relay_.Cut(id); });
  connections_.emplace(added->id, Connection{listener, std::move(arrived.peer), added->name});
  options_.take(added->server.Release());
}

void ConnectionAcceptor::Forget(Relay::Id id) {
  const auto found = connections_.find(id);
  const Connection& connection = found->second;
  clients_->Remove(connection.name);
  CountClosed(connection.listener, connection.peer);
  connections_.erase(found);
}

void ConnectionAcceptor::CountClosed(size_t listener, const std::string& peer) {
  const MutexLock lock(&mutex_);
  Open& open = open_[listener];
  --open.state.connections;
  const auto found = open.peers.find(peer);
  if (--found->second == 0) open.peers.erase(found);
}

void ConnectionAcceptor::LogClosed(size_t listener, const std::string& peer,
                                   const std::string& why) {
  const MutexLock lock(&mutex_);
  if (MayLog()) {
    spdlog::warn("{}: a connection from {} was closed: {}",
                 open_[listener].state.address.ToString(), peer, why);
  }
}

std::vector<ListenerState> ConnectionAcceptor::listeners() const {
  const MutexLock lock(&mutex_);
  std::vector<ListenerState> out;
  for (const Open& open : open_) out.push_back(open.state);
  return out;
}

}  // namespace vmeventd
