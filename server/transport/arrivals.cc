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
namespace {

constexpr int kArrivalsAtOnce = 64;

}  // namespace

Arrivals::Arrivals(size_t listeners, ArrivalLimits limits, const Clock* clock,
                   RefusalCounters* refusals, std::function<void(Arrived)> arrived)
    : limits_(limits),
      clock_(clock),
      refusals_(refusals),
      arrived_(std::move(arrived)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      listeners_(listeners) {}

Arrivals::~Arrivals() = default;

void Arrivals::Add(size_t listener, ReceivingSocket socket, std::string peer, SSL_CTX* context) {
  if (listeners_[listener].arrivals >= limits_.at_once) MakeRoom(listener);
  SslPtr tls;
  if (context != nullptr) {
    tls.reset(SSL_new(context));
    if (tls == nullptr || SSL_set_fd(tls.get(), socket.get()) != 1) return;  // no memory
    SSL_set_accept_state(tls.get());
  }
  const uint64_t id = next_id_++;
  // Edges: what has come so far is looked at once, however little it is.
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.u64 = id}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket.get(), &event) != 0) return;
  Listener& of = listeners_[listener];
  ++of.arrivals;
  ++of.peers[peer];
  by_id_[id] = arrivals_.insert(arrivals_.end(),
                                {id, listener, std::move(socket), std::move(tls), std::move(peer),
                                 clock_->Now().monotonic + limits_.time, false});
}

void Arrivals::MakeRoom(size_t listener) {
  const auto& peers = listeners_[listener].peers;
  const auto most = std::max_element(
      peers.begin(), peers.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  auto oldest = arrivals_.end();
  for (auto it = arrivals_.begin(); it != arrivals_.end(); ++it) {
    if (it->listener != listener || peers.at(it->peer) != most->second) continue;
    const bool silent = !HasSpoken(&*it);
    if (silent || oldest == arrivals_.end()) oldest = it;
    if (silent) break;
  }
  refusals_->Count(Refusal::kHandshakes);
  Take(oldest);
}

bool Arrivals::HasSpoken(Arrival* arrival) {
  char byte = 0;
  // Bytes that have come since the last look count too.
  if (!arrival->spoke) {
    arrival->spoke = recv(arrival->socket.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
  }
  return arrival->spoke;
}

Arrivals::Arrival Arrivals::Take(Place place) {
  Arrival out = std::move(*place);
  // epoll_wait holds what it looks at: it may drop the last reference, and then it closes.
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, out.socket.get(), nullptr);
  arrivals_.erase(place);
  by_id_.erase(out.id);
  Listener& of = listeners_[out.listener];
  --of.arrivals;
  const auto peer = of.peers.find(out.peer);
  if (--peer->second == 0) of.peers.erase(peer);
  return out;
}

void Arrivals::CloseAll() {
  while (!arrivals_.empty()) Take(arrivals_.begin());
}

Arrivals::Step Arrivals::Advance(Arrival* arrival) {
  if (arrival->tls != nullptr) {
    ERR_clear_error();
    const int result = SSL_accept(arrival->tls.get());
    if (result == 1) {
      const unsigned char* protocol = nullptr;
      unsigned int size = 0;
      SSL_get0_alpn_selected(arrival->tls.get(), &protocol, &size);
      return size > 0 ? Step::kDone : Step::kFailed;  // the client offered none
    }
    const int error = SSL_get_error(arrival->tls.get(), result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? Step::kWaits
                                                                         : Step::kFailed;
  }
  std::array<char, kHttp2Preface.size()> bytes;
  const ssize_t size =
      recv(arrival->socket.get(), bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (size < 0) return errno == EAGAIN || errno == EINTR ? Step::kWaits : Step::kFailed;
  const absl::string_view begin(bytes.data(), static_cast<size_t>(size));
  if (size == 0 || begin != kHttp2Preface.substr(0, begin.size())) return Step::kFailed;
  return begin.size() == kHttp2Preface.size() ? Step::kDone : Step::kWaits;
}

void Arrivals::RunOnce() {
  std::array<epoll_event, kArrivalsAtOnce> events;
  const int count = epoll_wait(epoll_.get(), events.data(), kArrivalsAtOnce, 0);
  for (int i = 0; i < count; ++i) {
    const uint64_t id = events[i].data.u64;  // a copy: the event is packed
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) continue;  // closed in this turn
    const Place place = found->second;
    place->spoke |= (events[i].events & EPOLLIN) != 0;
    const Step step = Advance(&*place);
    if (step == Step::kWaits) continue;
    Arrival arrival = Take(place);
    if (step == Step::kFailed) continue;
    arrived_({arrival.listener, std::move(arrival.socket), std::move(arrival.tls),
              std::move(arrival.peer)});
  }
  const absl::Duration now = clock_->Now().monotonic;
  while (!arrivals_.empty() && arrivals_.front().until <= now) {
    refusals_->Count(Refusal::kHandshakes);
    Take(arrivals_.begin());
  }
}

absl::Duration Arrivals::UntilDeadline() const {
  return arrivals_.empty() ? absl::InfiniteDuration()
                           : arrivals_.front().until - clock_->Now().monotonic;
}

}  // namespace vmeventd
