#pragma once

#include <string>

#include "base/unique_fd.h"

namespace vmeventd::e2e {

// Sends `bytes` and the descriptor `passed` over a Unix socket. Returns 0 or the errno.
int PassDescriptor(int socket, const std::string& bytes, int passed, int flags = 0);

// A TCP connection whose close takes an hour, because nobody reads its data.
struct LingeringConnection {
  UniqueFd listener;
  UniqueFd peer;
  UniqueFd socket;
};
LingeringConnection MakeLingering();

// Removes SO_PASSRIGHTS for this process and its children, like a kernel before Linux 6.16.
void ForgetPassRights();

}  // namespace vmeventd::e2e
