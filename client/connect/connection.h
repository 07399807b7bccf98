#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace vmeventd::client {

// The deadline of a unary request.
constexpr absl::Duration kRequestTimeout = absl::Seconds(30);

// Opens a new connection. It connects with its first request. If the connection fails, that request
// fails with UNAVAILABLE at once: the caller decides whether to wait. A silent connection is
// detected within 40 s. Reads the TLS files now; a new connection uses their new contents.
// FAILED_PRECONDITION: a TLS file is unusable; the message is that of LoadTlsFiles() (tls_files.h).
// UNAVAILABLE: the directory of a Unix socket cannot be opened now.
absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const ServerAddress& address);

// Sets a request's deadline to `timeout` from now.
void SetRequestDeadline(grpc::ClientContext* context, absl::Duration timeout = kRequestTimeout);

}  // namespace vmeventd::client
