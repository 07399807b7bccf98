#include "server/descriptor_limit.h"

#include <sys/resource.h>

#include <algorithm>

namespace vmeventd {

uint64_t RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;  // the kernel's own default
  rlimit raised = limit;
  raised.rlim_cur = raised.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  return limit.rlim_cur;
}

int VmDescriptors(uint64_t limit) {
  const uint64_t reserve = std::clamp<uint64_t>(limit / 4, 32, 1024);
  const uint64_t left = limit > reserve ? limit - reserve : 0;
  return static_cast<int>(std::min<uint64_t>(left, 1 << 20));
}

}  // namespace vmeventd
