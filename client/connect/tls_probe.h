#pragma once

#include <string>

#include "client/connect/server_address.h"

namespace vmeventd::client {

// Returns the reason why TLS with a server fails, for which gRPC reports only OpenSSL's error
// numbers: one sentence without a full stop, safe for a terminal; empty: no fault found. Connects
// to the TCP address, with TLS if the address has it. Blocks for at most 6 s. The caller must
// ignore SIGPIPE.
std::string ExplainTlsFault(const ServerAddress& address);

}  // namespace vmeventd::client
