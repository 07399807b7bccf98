#pragma once

#include <string>

namespace vmeventd::e2e {

// Connects to the stream socket at `path`; -1: failed.
int ConnectUnix(const std::string& path);
// Connects to it and closes that again, unless its queue of connections is full. Does not block.
void NudgeUnix(const std::string& path);

// Returns a stream socket that listens at `path`.
int ListenUnix(const std::string& path);

}  // namespace vmeventd::e2e
