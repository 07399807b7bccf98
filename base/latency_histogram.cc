#include "base/latency_histogram.h"

#include <algorithm>

namespace vmeventd {

void LatencyHistogram::Observe(absl::Duration latency) {
  latency = std::max(latency, absl::ZeroDuration());
  const auto* const bound =
      std::lower_bound(kBounds.begin(), kBounds.end(), absl::ToDoubleSeconds(latency));
  counts_[bound - kBounds.begin()].fetch_add(1, std::memory_order_relaxed);
  sum_ns_.fetch_add(absl::ToInt64Nanoseconds(latency), std::memory_order_relaxed);
}

LatencyHistogram::Snapshot LatencyHistogram::Read() const {
  Snapshot out;
  for (size_t i = 0; i < counts_.size(); ++i) {
    out.counts[i] = counts_[i].load(std::memory_order_relaxed);
  }
  out.sum = absl::Nanoseconds(sum_ns_.load(std::memory_order_relaxed));
  return out;
}

}  // namespace vmeventd
