#pragma once

#include <string>

namespace vmeventd::e2e {

// Sends `bytes` and the descriptor `passed` over a Unix socket. Returns 0 or the errno.
int PassDescriptor(int socket, const std::string& bytes, int passed, int flags = 0);

// Removes SO_PASSRIGHTS for this process and its children, like a kernel before Linux 6.16.
void ForgetPassRights();

}  // namespace vmeventd::e2e
