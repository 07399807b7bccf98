#ifndef VMEVENTD_CLIENT_CONNECT_CONNECTION_H_
#define VMEVENTD_CLIENT_CONNECT_CONNECTION_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/connect/resolver.h"
#include "client/connect/server_address.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace vmeventd::client {

// How long a request that answers once may take.
constexpr absl::Duration kRequestTimeout = absl::Seconds(30);

// A connection of its own. Connects with its first request, which fails UNAVAILABLE if that does
// not work at once: waiting is the caller's choice. A connection that went silent is noticed within
// 40 s. The files of TLS are read now: a new connection speaks with what they hold then.
// FAILED_PRECONDITION: one of them will not do; a sentence as LoadTlsFiles() has it.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ServerAddress& address);

// A connection to one address of a host.
struct PinnedChannel {
  ServerAddress address;  // with the one that it is to
  std::shared_ptr<grpc::Channel> channel;
  bool ambiguous = false;  // the host stands for several addresses, which may be several nodes
};

// Connect() to the first of the host's addresses that can be connected to, or to the last of them.
absl::StatusOr<PinnedChannel> ConnectToOne(const ServerAddress& address, const Resolver& resolve);

// Gives a request so long from now on.
void SetRequestDeadline(grpc::ClientContext* context, absl::Duration timeout = kRequestTimeout);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_CONNECTION_H_
