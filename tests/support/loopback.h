#pragma once

#include <cstdint>

#include "base/system.h"

namespace vmeventd::e2e {

// A socket that listens on a free port of loopback, which `port` gets.
UniqueFd ListenOnLoopback(uint16_t* port);
// A socket that is bound to an otherwise unused port and does not listen: connections are refused,
// and a server with SO_REUSEADDR, such as Go's and vmeventd, may listen there. The kernel gives the
// port to no other socket that asks for any, as long as this lives.
UniqueFd HoldOnLoopback(uint16_t* port);
// Connects to the port; invalid: nobody listens.
UniqueFd ConnectToLoopback(uint16_t port);

}  // namespace vmeventd::e2e
