#pragma once

#include <sys/types.h>

#include <string>

namespace vmeventd {

// The name in the user and group databases; the number where there is none. May ask the network, as
// the name services do. Any thread.
std::string UserName(uid_t uid);
std::string GroupName(gid_t gid);

}  // namespace vmeventd
