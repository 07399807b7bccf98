#ifndef VMEVENTD_CLIENT_CONNECTION_H_
#define VMEVENTD_CLIENT_CONNECTION_H_

#include <memory>

#include "absl/time/time.h"
#include "client/server_address.h"
#include "grpcpp/client_context.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::client {

// How long a request that answers once may take.
constexpr absl::Duration kRequestTimeout = absl::Seconds(30);

// A stub on a connection of its own. Connects with its first request, which fails UNAVAILABLE if
// that does not work at once: waiting is the caller's choice. A connection that went silent is
// noticed within 40 s.
std::unique_ptr<v1::VmEventService::Stub> Connect(const ServerAddress& address);

// Gives a request kRequestTimeout from now on.
void SetRequestDeadline(grpc::ClientContext* context);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECTION_H_
