#include "server/transport/wire.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace vmeventd {

Wire::Wire(ReceivingSocket socket, SslPtr tls) : socket_(std::move(socket)), tls_(std::move(tls)) {
  if (tls_ == nullptr) return;
  SSL_set_msg_callback(tls_.get(),
                       [](int sends, int, int type, const void*, size_t, SSL*, void* messages) {
                         if (sends == 0 && type == SSL3_RT_HANDSHAKE)
                           ++*static_cast<int*>(messages);
                       });
  SSL_set_msg_callback_arg(tls_.get(), &tls_messages_);
}

ssize_t Wire::Receive(char* out, size_t size) {
  if (tls_ != nullptr) return ReceiveTls(out, size);
  const ssize_t received = socket_.Receive(out, size);
  if (received < 0) return errno == EAGAIN || errno == EINTR ? -1 : 0;
  received_ += static_cast<uint64_t>(received);
  return received;
}

ssize_t Wire::ReceiveTls(char* out, size_t size) {
  if (failed_) return 0;
  ERR_clear_error();
  const int received = SSL_read(tls_.get(), out, static_cast<int>(size));
  if (tls_messages_ > kMaxTlsMessages) failed_ = true;
  if (received > 0) return received;
  const int error = SSL_get_error(tls_.get(), received);
  if (!failed_ && (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)) return -1;
  failed_ = failed_ || error != SSL_ERROR_ZERO_RETURN;
  return 0;
}

ssize_t Wire::Send(absl::string_view bytes) {
  if (tls_ != nullptr) return SendTls(bytes);
  const ssize_t sent = send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  return sent < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : sent;
}

ssize_t Wire::SendTls(absl::string_view bytes) {
  ssize_t sent = 0;
  while (!bytes.empty()) {
    if (failed_) return -1;
    ERR_clear_error();
    const int taken = SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size()));
    if (taken > 0) {
      sent += taken;
      bytes.remove_prefix(static_cast<size_t>(taken));
      continue;
    }
    const int error = SSL_get_error(tls_.get(), taken);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) break;
    failed_ = true;
  }
  return sent;
}

void Wire::ShutDown() {
  if (tls_ != nullptr && !failed_) {
    ERR_clear_error();
    SSL_shutdown(tls_.get());
  }
  shutdown(fd(), SHUT_WR);
}

uint64_t Wire::received() const {
  return tls_ == nullptr ? received_ : BIO_number_read(SSL_get_rbio(tls_.get()));
}

bool Wire::HasPending() const { return tls_ != nullptr && SSL_pending(tls_.get()) > 0; }

}  // namespace vmeventd
