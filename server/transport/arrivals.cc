#include "server/transport/arrivals.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/string_view.h"
#include "server/transport/frames.h"

namespace vmeventd {
Arrivals::Arrivals(size_t listeners, ArrivalLimits limits, EventLoop* loop,
                   RefusalCounters* refusals, std::function<void(Arrived)> arrived)
    : limits_(limits),
      loop_(loop),
      refusals_(refusals),
      arrived_(std::move(arrived)),
      listeners_(listeners) {}

Arrivals::~Arrivals() { CloseAll(); }

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
  Arrival* oldest = nullptr;
  for (auto& [id, arrival] : arrivals_) {
    const Arrived& connection = arrival.connection;
    if (connection.listener != listener || peers.at(connection.peer) != most->second) continue;
    const bool silent = !HasSpoken(&arrival);
    if (silent || oldest == nullptr) oldest = &arrival;
    if (silent) break;
  }
  refusals_->Count(Refusal::kHandshakes);
  Take(oldest);
}

bool Arrivals::HasSpoken(Arrival* arrival) {
  char byte = 0;
  // Bytes that have come since the last look count too.
  if (!arrival->spoke) {
    arrival->spoke = recv(arrival->connection.socket.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
  }
  return arrival->spoke;
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

Arrivals::Step Arrivals::Advance(const Arrived& connection) {
  SSL* const tls = connection.tls.get();
  if (tls != nullptr) {
    ERR_clear_error();
    const int result = SSL_accept(tls);
    if (result == 1) {
      const unsigned char* protocol = nullptr;
      unsigned int size = 0;
      SSL_get0_alpn_selected(tls, &protocol, &size);
      return size > 0 ? Step::kDone : Step::kFailed;  // the client offered none
    }
    const int error = SSL_get_error(tls, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? Step::kWaits
                                                                         : Step::kFailed;
  }
  std::array<char, kHttp2Preface.size()> bytes;
  const ssize_t size =
      recv(connection.socket.get(), bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (size < 0) return errno == EAGAIN || errno == EINTR ? Step::kWaits : Step::kFailed;
  const absl::string_view begin(bytes.data(), static_cast<size_t>(size));
  if (size == 0 || begin != kHttp2Preface.substr(0, begin.size())) return Step::kFailed;
  return begin.size() == kHttp2Preface.size() ? Step::kDone : Step::kWaits;
}

void Arrivals::OnReady(Arrival* arrival, uint32_t events) {
  arrival->spoke |= (events & EPOLLIN) != 0;
  const Step step = Advance(arrival->connection);
  if (step == Step::kWaits) return;
  Arrived connection = Take(arrival);
  if (step == Step::kDone) arrived_(std::move(connection));
}

}  // namespace vmeventd
