#pragma once

#include <string>

namespace vmeventd {

// Returns the identity of a file, "INODE BIRTH" with the birth time in nanoseconds; a copy has
// another one. The birth time is 0 if the file system does not store it.
std::string FileIdentity(const std::string& path);

}  // namespace vmeventd
