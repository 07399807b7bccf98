#include "server/transport/descriptor_shares.h"

#include <sys/resource.h>

#include <algorithm>

#include "server/transport/arrivals.h"

namespace vmeventd {

DescriptorShares ShareDescriptors(uint64_t limit, size_t listeners, int max_connections) {
  constexpr uint64_t kOwn = 64;          // files, sockets and timers of the daemon itself
  constexpr uint64_t kOfConnection = 3;  // the client's, and the relay's pair
  const uint64_t at_once = ArrivalLimits().at_once;
  const uint64_t wanted = kOfConnection * static_cast<uint64_t>(max_connections) + at_once;
  const uint64_t reserve =
      std::min<uint64_t>(listeners * wanted + kOwn, std::max<uint64_t>(limit / 4, 32));
  const uint64_t each = (reserve - std::min(kOwn, reserve / 2)) / std::max<size_t>(listeners, 1);
  const uint64_t arrivals = each >= wanted ? at_once : std::clamp<uint64_t>(each / 4, 1, at_once);
  const uint64_t seats = each > arrivals ? (each - arrivals) / kOfConnection : 0;
  return {static_cast<int>(std::min<uint64_t>(limit > reserve ? limit - reserve : 0, 1 << 20)),
          std::clamp(static_cast<int>(seats), 1, max_connections), arrivals};
}

uint64_t RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;  // the kernel's own default
  rlimit raised = limit;
  raised.rlim_cur = raised.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  return limit.rlim_cur;
}

}  // namespace vmeventd
