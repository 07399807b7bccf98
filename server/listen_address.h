#ifndef VMEVENTD_SERVER_LISTEN_ADDRESS_H_
#define VMEVENTD_SERVER_LISTEN_ADDRESS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// Where the daemon listens: one --listen.
struct ListenAddress {
  std::string path;   // of a Unix socket, absolute; empty: TCP
  std::string host;   // a loopback address in digits
  uint16_t port = 0;  // 0: the kernel chooses

  bool is_unix() const { return !path.empty(); }
  // For people and for the flag: unix:PATH, HOST:PORT or [HOST]:PORT.
  std::string ToString() const;
  // For gRPC, which reads it as part of a URI.
  std::string GrpcTarget() const;
};
bool operator==(const ListenAddress& a, const ListenAddress& b);

// The longest path that fits into a sockaddr_un.
inline constexpr size_t kMaxSocketPath = 107;

// Reads unix:PATH or HOST:PORT. A relative path is taken from the working directory; localhost is
// 127.0.0.1. INVALID_ARGUMENT names the text and the rule: only loopback addresses, because
// anything further needs TLS.
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LISTEN_ADDRESS_H_
