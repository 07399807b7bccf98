#include "server/host/descriptor_limit.h"

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

DescriptorShares ShareDescriptors(uint64_t limit, size_t listeners, int wanted) {
  constexpr uint64_t kOwn = 64;  // files, sockets and timers of the daemon itself
  const uint64_t all_want = listeners * static_cast<uint64_t>(wanted);
  const uint64_t reserve = std::min<uint64_t>(all_want + kOwn, std::max<uint64_t>(limit / 4, 32));
  const uint64_t vms = limit > reserve ? limit - reserve : 0;
  const uint64_t each = (reserve - std::min(kOwn, reserve / 2)) / std::max<size_t>(listeners, 1);
  return {.vms = static_cast<int>(std::min<uint64_t>(vms, 1 << 20)),
          .listener = std::min(wanted, static_cast<int>(each))};
}

}  // namespace vmeventd
