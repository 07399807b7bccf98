#pragma once

#include <vector>

#include "base/unique_fd.h"

struct msghdr;

namespace vmeventd {

// Takes the descriptors out of a Unix socket's message (SCM_RIGHTS) that recvmsg(2) has filled.
// They then belong to the caller: call it once.
std::vector<UniqueFd> TakeDescriptors(msghdr* message);

// Makes the kernel refuse passed descriptors, if it can, on `fd`: a Unix socket that is not
// connected yet; or a listening one, for all connections that it accepts.
void RefusePassedDescriptors(int fd);

// Returns whether the kernel may pass descriptors on `fd`, a connected socket.
bool MayPassDescriptors(int fd);

}  // namespace vmeventd
