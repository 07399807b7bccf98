#include "server/transport/connection_acceptor.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "server/transport/client_frames.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr char kTlsHandshakeRecord = 0x16;

// Returns, for people, why SSL_accept has just failed. `error` is from SSL_get_error.
std::string HandshakeFault(SSL* tls, int error) {
  const long verified = SSL_get_verify_result(tls);
  if (verified != X509_V_OK) {
    return absl::StrCat("its certificate is not accepted: ",
                        X509_verify_cert_error_string(verified));
  }
  if (error != SSL_ERROR_SSL) return "it closed the connection within the TLS handshake";
  const unsigned long last = ERR_peek_last_error();
  const int reason = ERR_GET_REASON(last);
  switch (reason) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return "it shows no certificate, and --tls-client-ca requires one";
    case SSL_R_NO_APPLICATION_PROTOCOL:
      return "it does not offer HTTP/2 (ALPN h2)";
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
      return "it does not speak TLS";
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
      return "it closed the connection within the TLS handshake";
    default: {
      const char* const text = ERR_reason_error_string(last);
      return absl::StrCat(reason > SSL_AD_REASON_OFFSET
                              ? "it does not accept this server's certificate: "
                              : "the TLS handshake failed: ",
                          text == nullptr ? "unknown error" : text);
    }
  }
}

constexpr absl::Duration kTick = absl::Seconds(1);

}  // namespace

Arrivals::Arrivals(size_t listeners, ArrivalLimits limits, EventLoop* loop,
                   RefusalCounters* refusals, std::function<void(Arrived)> arrived, Refused refused)
    : limits_(limits),
      loop_(loop),
      refusals_(refusals),
      arrived_(std::move(arrived)),
      refused_(std::move(refused)),
      listeners_(listeners) {}

void Arrivals::Add(size_t listener, ReceivingSocket socket, std::string peer, SSL_CTX* context) {
  if (listeners_[listener].arrivals >= limits_.at_once) MakeRoom(listener);
  SslPtr tls;
  if (context != nullptr) {
    tls.reset(SSL_new(context));
    if (tls == nullptr || SSL_set_fd(tls.get(), socket.get()) != 1) return;  // no memory
    SSL_set_accept_state(tls.get());
  }
  const uint64_t id = next_id_++;
  Listener& of = listeners_[listener];
  ++of.arrivals;
  ++of.peers[peer];
  Arrival* const arrival =
      &arrivals_
           .try_emplace(id, this, id,
                        Arrived{listener, std::move(socket), std::move(tls), std::move(peer)})
           .first->second;
  arrival->timer = loop_->AddTimer(loop_->Now().monotonic + limits_.time, [this, arrival] {
    refusals_->Count(Refusal::kHandshakes);
    Take(arrival);
  });
  // Edge-triggered: received bytes are looked at once, however few.
  constexpr uint32_t kEdges = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  if (!loop_->Add(arrival->connection.socket.get(), kEdges, arrival).ok()) Take(arrival);
}

void Arrivals::MakeRoom(size_t listener) {
  const auto& peers = listeners_[listener].peers;
  const auto most = std::max_element(
      peers.begin(), peers.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  const auto oldest = std::find_if(arrivals_.begin(), arrivals_.end(), [&](const auto& entry) {
    const Arrived& connection = entry.second.connection;
    return connection.listener == listener && peers.at(connection.peer) == most->second;
  });
  refusals_->Count(Refusal::kHandshakes);
  Take(&oldest->second);
}

Arrivals::Arrived Arrivals::Take(Arrival* arrival) {
  Arrived out = std::move(arrival->connection);
  // epoll_wait holds the sockets that it looks at: it may drop the last reference, and then closes.
  loop_->Remove(out.socket.get());
  loop_->CancelTimer(&arrival->timer);
  arrivals_.erase(arrival->id);
  Listener& of = listeners_[out.listener];
  --of.arrivals;
  const auto peer = of.peers.find(out.peer);
  if (--peer->second == 0) of.peers.erase(peer);
  return out;
}

Arrivals::Step Arrivals::AdvanceTls(SSL* tls, std::string* why) {
  ERR_clear_error();
  const int result = SSL_accept(tls);
  if (result == 1) {
    const unsigned char* protocol = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(tls, &protocol, &size);
    if (size > 0) return Step::kDone;
    *why = "it does not offer HTTP/2 (ALPN h2)";
    return Step::kFailed;
  }
  const int error = SSL_get_error(tls, result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return Step::kWaits;
  if (BIO_number_read(SSL_get_rbio(tls)) > 0) *why = HandshakeFault(tls, error);
  return Step::kFailed;
}

Arrivals::Step Arrivals::Advance(const Arrived& connection, std::string* why) {
  if (connection.tls != nullptr) return AdvanceTls(connection.tls.get(), why);
  std::array<char, kHttp2Preface.size()> bytes;
  const ssize_t size =
      recv(connection.socket.get(), bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (size < 0) return errno == EAGAIN || errno == EINTR ? Step::kWaits : Step::kFailed;
  const absl::string_view begin(bytes.data(), static_cast<size_t>(size));
  if (size == 0) return Step::kFailed;
  if (begin != kHttp2Preface.substr(0, begin.size())) {
    *why = begin.front() == kTlsHandshakeRecord ? "it speaks TLS, which this address does not have"
                                                : "it does not begin with the preface of HTTP/2";
    return Step::kFailed;
  }
  return begin.size() == kHttp2Preface.size() ? Step::kDone : Step::kWaits;
}

void Arrivals::OnReady(Arrival* arrival) {
  std::string why;
  const Step step = Advance(arrival->connection, &why);
  if (step == Step::kWaits) return;
  Arrived connection = Take(arrival);
  if (step == Step::kDone) return arrived_(std::move(connection));
  if (why.empty()) return;
  refusals_->Count(connection.tls != nullptr ? Refusal::kTls : Refusal::kFrames);
  refused_(connection.listener, connection.peer, why);
}

DescriptorShares ShareDescriptors(uint64_t limit, size_t listeners, int max_connections) {
  constexpr uint64_t kOwn = 64;          // files, sockets and timers of the daemon itself
  constexpr uint64_t kOfConnection = 3;  // the client's, and the relay's pair
  const uint64_t at_once = ArrivalLimits().at_once;
  const uint64_t wanted = kOfConnection * static_cast<uint64_t>(max_connections) + at_once;
  const uint64_t reserve =
      std::min<uint64_t>(listeners * wanted + kOwn, std::max<uint64_t>(limit / 4, 32));
  const uint64_t each = (reserve - std::min(kOwn, reserve / 2)) / std::max<size_t>(listeners, 1);
  const uint64_t arrivals = each >= wanted ? at_once : std::clamp<uint64_t>(each / 4, 1, at_once);
  const uint64_t seats = each > arrivals ? (each - arrivals) / kOfConnection : 0;
  return {static_cast<int>(std::min<uint64_t>(limit > reserve ? limit - reserve : 0, 1 << 20)),
          std::clamp(static_cast<int>(seats), 1, max_connections), arrivals};
}

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
    GiveSeatBack(listener, arrived.peer);
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
  GiveSeatBack(connection.listener, connection.peer);
  connections_.erase(found);
}

void ConnectionAcceptor::GiveSeatBack(size_t listener, const std::string& peer) {
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
