#pragma once

#include <cstddef>
#include <string>

namespace vmeventd {

// Returns `count` unpredictable bytes, at most 256. Any thread.
std::string RandomBytes(size_t count);

}  // namespace vmeventd
