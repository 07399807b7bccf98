#pragma once

#include <cstdint>

#include "base/unique_fd.h"

namespace vmeventd::e2e {

// Returns a socket that listens on a free port of loopback; `*port` gets the port.
UniqueFd ListenOnLoopback(uint16_t* port);
// Returns a socket that is bound to an unused port but does not listen: connections are refused,
// and a server with SO_REUSEADDR, such as vmeventd or a Go server, can listen there. While the
// socket exists, the kernel does not give the port to a socket that asks for any port.
UniqueFd HoldOnLoopback(uint16_t* port);
// Connects to the port; invalid: nobody listens there.
UniqueFd ConnectToLoopback(uint16_t port);

}  // namespace vmeventd::e2e
