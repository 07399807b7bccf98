#pragma once

#include "client/connect/server_address.h"

namespace vmeventd::client {

// Kinds of servers that answer at an address.
enum class Answerer {
  kNothing,  // nothing, or no server of HTTP
  kHttp1,    // a server of HTTP/1 alone
  kHttp2     // a server of HTTP/2, as gRPC needs it
};

// Connects and begins as a client of HTTP/2 does. Blocks for at most 6 s for each address of a
// host. Returns kNothing for SSH.
Answerer WhoAnswers(const ServerAddress& address);

}  // namespace vmeventd::client
