#ifndef VMEVENTD_CLIENT_CONNECT_CONNECTION_H_
#define VMEVENTD_CLIENT_CONNECT_CONNECTION_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/connect/node_pin.h"
#include "client/connect/server_address.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace vmeventd::client {

// The deadline of a unary request.
constexpr absl::Duration kRequestTimeout = absl::Seconds(30);

// Opens a new connection. It connects with its first request, which fails with UNAVAILABLE if that
// does not succeed at once: the caller decides whether to wait. A silent connection is detected
// within 40 s. Reads the TLS files now; a new connection uses their new contents.
// FAILED_PRECONDITION: a TLS file is unusable; the sentence of LoadTlsFiles().
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ServerAddress& address);

// A connection to one address of a host.
struct PinnedChannel {
  ServerAddress address;  // with the chosen address
  std::shared_ptr<grpc::Channel> channel;
  bool ambiguous = false;  // the host has several addresses, which may be several nodes
};

// Connects to the first reachable address of the host, or to the last one if none is reachable.
absl::StatusOr<PinnedChannel> ConnectToOne(const ServerAddress& address, const Resolver& resolve);

// Sets a request's deadline to `timeout` from now.
void SetRequestDeadline(grpc::ClientContext* context, absl::Duration timeout = kRequestTimeout);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_CONNECTION_H_
