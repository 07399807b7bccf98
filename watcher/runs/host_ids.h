#pragma once

#include <cstdint>
#include <string>

namespace vmeventd {

// The kernel's boot id; empty if it cannot be read.
std::string ReadBootId();

// Names the PID namespace of this process; 0 if it cannot be read.
uint64_t ReadPidNamespace();

}  // namespace vmeventd
