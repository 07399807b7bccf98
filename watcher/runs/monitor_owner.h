#pragma once

#include <sys/types.h>

#include <utility>
#include <vector>

#include "watcher/core/managers.h"

namespace vmeventd {

// Names a socket's file while it exists.
using SocketInode = std::pair<dev_t, ino_t>;
// The program that needs a monitor for itself; null: none.
using MonitorOwner = const Manager*;
using MonitorOwners =
    std::vector<std::pair<SocketInode, MonitorOwner>>;  // by the socket of the monitor

}  // namespace vmeventd
