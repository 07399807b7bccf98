#pragma once

#include <pthread.h>

#include <cstddef>

namespace vmeventd {

// Names the calling thread, for top -H, debuggers and core files. The kernel stores 15 bytes.
template <size_t kSize>
void SetThreadName(const char (&name)[kSize]) {
  static_assert(kSize <= 16, "at most 15 bytes");
  pthread_setname_np(pthread_self(), name);
}

}  // namespace vmeventd
