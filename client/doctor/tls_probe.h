#pragma once

#include <string>

#include "client/connect/server_address.h"

// The reason why TLS with a server fails, where gRPC reports only OpenSSL's error numbers. The
// caller must ignore SIGPIPE.

namespace vmeventd::client {

// Connects to the TCP address, with or without TLS as that says. Blocks for at most 4 s. Returns
// one sentence without a full stop, safe for a terminal; empty: it found no fault.
std::string ExplainTlsFault(const ServerAddress& address);

}  // namespace vmeventd::client
