#pragma once

#include <vector>

#include "base/unique_fd.h"

struct msghdr;

namespace vmeventd {

// Takes the descriptors out of a Unix socket's message (SCM_RIGHTS) that recvmsg(2) has filled.
// They then belong to the caller: call it once.
std::vector<UniqueFd> TakeDescriptors(msghdr* message);

}  // namespace vmeventd
