#pragma once

#include <sys/types.h>

#include <string>

namespace vmeventd {

// Return the name from the user or group database; the number if there is no name. May ask the
// network, as name services do. Any thread.
std::string UserName(uid_t uid);
std::string GroupName(gid_t gid);

}  // namespace vmeventd
