#pragma once

#include <netdb.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/openssl_ptr.h"
#include "base/system.h"
#include "client/connect/server_address.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace vmeventd::client {

// Stops a watch from outside: ends every wait, and runs the callbacks of its token. Any thread.
class StopSource {
 public:
  // Stops permanently. A second call does nothing.
  void Stop() { source_.request_stop(); }
  bool stopped() const { return token().stop_requested(); }
  std::stop_token token() const { return source_.get_token(); }

  // Waits for `duration`, or until stopped. Returns whether it was stopped.
  bool WaitFor(absl::Duration duration);

 private:
  std::stop_source source_;
  std::mutex mutex_;
  std::condition_variable_any stopping_;
};

// Returns the addresses of a host from the system's resolver; at least one. UNAVAILABLE: the host
// cannot be resolved now; the message is the resolver's reason.
using HostAddresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;
absl::StatusOr<HostAddresses> FindHost(const std::string& host, const std::string& port);

// The deadline of a unary request.
constexpr absl::Duration kRequestTimeout = absl::Seconds(30);

// Checks the files and returns a client's context with them. This finds faults that gRPC reports
// only as a failed handshake. FAILED_PRECONDITION: a sentence, safe for a terminal, with the
// option, the file, the fault and the fix. Does not check validity dates or trust; the handshake
// does.
absl::StatusOr<SslContextPtr> LoadTlsFiles(const TlsOptions& options);

// Opens a new connection. It connects with its first request. If the connection fails, that request
// fails with UNAVAILABLE at once: the caller decides whether to wait. A silent connection is
// detected within 40 s. Reads the TLS files now; a new connection uses their new contents.
// FAILED_PRECONDITION: a TLS file is unusable; the message is that of LoadTlsFiles(). UNAVAILABLE:
// the directory of a Unix socket cannot be opened now.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ServerAddress& address);

// Starts ssh, which runs `vmevents proxy` on that host, and returns a non-blocking socket to the
// vmeventd there. Closing the socket ends ssh. ssh writes its messages to standard error.
// UNAVAILABLE: ssh cannot be started.
absl::StatusOr<UniqueFd> StartSsh(const ServerAddress& address);

// Sets a request's deadline to `timeout` from now.
void SetRequestDeadline(grpc::ClientContext* context, absl::Duration timeout = kRequestTimeout);

}  // namespace vmeventd::client
