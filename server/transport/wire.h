#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "base/openssl_ptr.h"
#include "base/receiving_socket.h"

namespace vmeventd {

// One end of a connection: a socket, or a TLS session on one whose handshake is done. Does not
// block. One thread; the process ignores SIGPIPE. Cannot be moved: OpenSSL holds a pointer to it.
class Wire {
 public:
  // Maximum number of TLS's own messages after the handshake. A client needs none, except for a
  // rare change of keys; each costs far more than its bytes.
  static constexpr int kMaxTlsMessages = 16;

  // `tls` null: a plain connection.
  explicit Wire(ReceivingSocket socket, SslPtr tls = nullptr);
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  int fd() const { return socket_.get(); }
  // Returns the number of bytes. Negative: nothing to read now; 0: the end, or an error, which ends
  // it too.
  ssize_t Receive(char* out, size_t size);
  // Sends what the other end accepts now, maybe nothing, and returns its size. Negative: it will
  // accept nothing more. If not all was accepted, the next call must begin with the rest.
  ssize_t Send(absl::string_view bytes);
  // Ends this side, after what was sent.
  void ShutDown();

  // Number of bytes received from the network, including TLS headers.
  uint64_t received() const;
  // Returns whether Receive may return more although the socket has nothing to read.
  bool HasPending() const;

 private:
  ssize_t ReceiveTls(char* out, size_t size);
  ssize_t SendTls(absl::string_view bytes);

  ReceivingSocket socket_;
  const SslPtr tls_;
  uint64_t received_ = 0;  // bytes of a plain connection
  int tls_messages_ = 0;
  bool failed_ = false;
};

}  // namespace vmeventd
