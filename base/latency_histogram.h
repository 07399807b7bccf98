#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace vmeventd {

// Latencies, counted in fixed buckets. Any thread, without a lock: a Snapshot may contain a latency
// in one of its members but not yet in the other.
class LatencyHistogram {
 public:
  // The buckets' inclusive upper bounds, in seconds; one more bucket counts what exceeds them.
  static constexpr std::array<double, 18> kBounds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                                     0.01,   0.025,   0.05,   0.1,   0.25,   0.5,
                                                     1,      2.5,     5,      10,    30,     60};
  struct Snapshot {
    std::array<uint64_t, kBounds.size() + 1> counts{};  // per bucket, not cumulative
    absl::Duration sum;
  };

  // Counts one latency. A negative one (a clock was set back) counts as zero.
  void Observe(absl::Duration latency) {
    latency = std::max(latency, absl::ZeroDuration());
    const auto* const bound =
        std::lower_bound(kBounds.begin(), kBounds.end(), absl::ToDoubleSeconds(latency));
    counts_[bound - kBounds.begin()].fetch_add(1, std::memory_order_relaxed);
    sum_ns_.fetch_add(absl::ToInt64Nanoseconds(latency), std::memory_order_relaxed);
  }
  Snapshot Read() const {
    Snapshot out;
    for (size_t i = 0; i < counts_.size(); ++i) {
      out.counts[i] = counts_[i].load(std::memory_order_relaxed);
    }
    out.sum = absl::Nanoseconds(sum_ns_.load(std::memory_order_relaxed));
    return out;
  }

 private:
  std::array<std::atomic<uint64_t>, kBounds.size() + 1> counts_{};
  std::atomic<int64_t> sum_ns_{0};
};

}  // namespace vmeventd
