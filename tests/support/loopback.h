#pragma once

#include <cstdint>

#include "base/unique_fd.h"

namespace vmeventd::e2e {

// A socket that listens on a free port of loopback, which `port` gets.
UniqueFd ListenOnLoopback(uint16_t* port);
// Invalid: nobody listens.
UniqueFd ConnectToLoopback(uint16_t port);

}  // namespace vmeventd::e2e
