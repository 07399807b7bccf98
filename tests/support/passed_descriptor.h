#pragma once

#include <string>

#include "base/system.h"

namespace vmeventd::e2e {

// Sends `bytes` over a Unix socket, and `passed` with them. Returns 0 or the errno.
int PassDescriptor(int socket, const std::string& bytes, int passed, int flags = 0);

// A TCP connection whose close takes an hour, because nobody reads what it has sent.
struct LingeringConnection {
  UniqueFd listener;
  UniqueFd peer;
  UniqueFd socket;
};
LingeringConnection MakeLingering();

// Makes this process and those that it starts live without SO_PASSRIGHTS, as before Linux 6.16.
void ForgetPassRights();

}  // namespace vmeventd::e2e
