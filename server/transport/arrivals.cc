#include "server/transport/arrivals.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/transport/http2_frame.h"

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

}  // namespace vmeventd
