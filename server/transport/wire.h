#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "base/openssl_ptr.h"
#include "base/receiving_socket.h"

namespace vmeventd {

// One end of a connection: a socket, or TLS over one whose handshake is done. Never waits.
// One thread; the process ignores SIGPIPE. It stays where it is made: OpenSSL keeps a pointer to
// it.
class Wire {
 public:
  // A client needs none of TLS's own messages after the handshake, but for a change of keys once in
  // a long while; each costs far more than its bytes.
  static constexpr int kMaxTlsMessages = 16;

  // Makes one end; a plain connection's if `tls` is null.
  explicit Wire(ReceivingSocket socket, SslPtr tls = nullptr);
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  int fd() const { return socket_.get(); }
  // Negative: nothing to read now; 0: the end, or an error, which is one.
  ssize_t Receive(char* out, size_t size);
  // Sends what the other end accepts now, maybe nothing, and returns its size. Negative: it accepts
  // nothing any more. If not all was accepted, the next call begins with the rest.
  ssize_t Send(absl::string_view bytes);
  // Sends the end after what was sent.
  void ShutDown();

  // Bytes that came from the network for Receive, headers of TLS included.
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
